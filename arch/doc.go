// Package arch holds what depends on the processor and on the word size:
// page digests (BLAKE3, with vector instructions where the processor has
// them), a description of the machine, and the limit of an address-space
// reservation.
//
// Start with Hasher; its trees are in tree.go, the kernels that hash many
// chunks side by side behind kernel.go, their generator in gen/. Features
// describes the machine for bug reports and benchmark headers.
package arch
