/*
Package bbolt stands in for go.etcd.io/bbolt v1.5.0: the same identifiers, on
Lightning DB. A program changes over by two lines in the go.mod of its main
module,

	replace go.etcd.io/bbolt => github.com/lightning-db/lightning/compat/bbolt v0.1.0

	require github.com/lightning-db/lightning v0.1.0

and its own code and that of the libraries it uses stay as they are. From a
checkout, both modules are replaced by their directories:

	replace go.etcd.io/bbolt => ../lightning/compat/bbolt

	replace github.com/lightning-db/lightning => ../lightning

The files are not bbolt's: lightning-cli migrate converts them, both ways. The
types are those of the package lightning, so what that package has beyond bbolt
can be used on the same values. docs/MIGRATING.md tells what behaves otherwise.
*/
package bbolt
