module github.com/lightning-db/lightning/compat/clients/bolthold

go 1.26.0

require (
	github.com/timshannon/bolthold v0.0.0-20240314194003-30aac6950928
	go.etcd.io/bbolt v1.5.0
)

require golang.org/x/sys v0.45.0 // indirect
