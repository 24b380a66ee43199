module github.com/lightning-db/lightning/compat/clients/walletdb

go 1.26.0

require (
	github.com/btcsuite/btcwallet/walletdb v1.4.2
	go.etcd.io/bbolt v1.5.0
)

require golang.org/x/sys v0.45.0 // indirect
