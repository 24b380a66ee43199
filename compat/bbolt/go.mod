module go.etcd.io/bbolt

go 1.26.0

require github.com/lightning-db/lightning v0.0.0-00010101000000-000000000000

require (
	github.com/edsrzf/mmap-go v1.2.0 // indirect
	github.com/klauspost/cpuid/v2 v2.4.2 // indirect
	github.com/zeebo/blake3 v0.2.4 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/lightning-db/lightning => ../..
