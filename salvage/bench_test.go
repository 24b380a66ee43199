package salvage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	lightning "github.com/lightning-db/lightning"
)

// BenchmarkRun salvages a sound file.
func BenchmarkRun(b *testing.B) {
	for _, keys := range []int{1 << 14, 1 << 20} {
		b.Run(fmt.Sprintf("keys=%d/value=100", keys), func(b *testing.B) {
			dir := b.TempDir()
			src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
			db, err := lightning.Open(src, 0o600, &lightning.Options{NoSync: true})
			if err != nil {
				b.Fatal(err)
			}
			if err := db.Update(func(tx *lightning.Tx) error {
				bucket, err := tx.CreateBucket([]byte("bucket"))
				if err != nil {
					return err
				}
				_, err = bucket.Load(func(put func(k, v []byte) error) error {
					for i := range keys {
						if err := put(fmt.Appendf(nil, "key%09d", i), make([]byte, 100)); err != nil {
							return err
						}
					}
					return nil
				})
				return err
			}); err != nil {
				b.Fatal(err)
			}
			if err := db.Close(); err != nil {
				b.Fatal(err)
			}
			info, err := os.Stat(src)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(info.Size())
			for b.Loop() {
				if r, err := Run(context.Background(), src, dst, Options{}); err != nil || r.Saved.Sum() != uint64(keys)+1 {
					b.Fatalf("%+v, %v", r, err)
				}
				if err := os.Remove(dst); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
