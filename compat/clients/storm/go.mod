module github.com/lightning-db/lightning/compat/clients/storm

go 1.26.0

require (
	github.com/asdine/storm/v3 v3.2.1
	go.etcd.io/bbolt v1.5.0
)

require golang.org/x/sys v0.45.0 // indirect
