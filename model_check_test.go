//go:build !invariants

package lightning_test

// modelCheckEvery is the number of commits between two calls of Check in the model test.
const modelCheckEvery = 50
