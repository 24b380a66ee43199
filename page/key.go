package page

import "github.com/lightning-db/lightning/arch"

// Keys returns the hasher of a file's digests and the value by which a wrong
// integrity key is told from damage. integrityKey is the user's, perhaps empty.
func Keys(integrityKey []byte, fileID [16]byte) (h *arch.Hasher, keyCheck [16]byte) {
	key := arch.DeriveKey("lightning-db 2026 page digests v1", integrityKey, fileID[:])
	check := arch.DeriveKey("lightning-db 2026 key check v1", key[:])
	return arch.NewHasher(key), [16]byte(check[:16])
}
