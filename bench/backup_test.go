package bench

import (
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/lightning-db/lightning"
	"github.com/lightning-db/lightning/arch"
)

// BenchmarkBackup measures a full backup, beside reading and hashing the file
// without a database, and an increment after one key in a hundred changed, in a
// row or all over the database. increment/full is how much of it was written.
func BenchmarkBackup(b *testing.B) {
	s := loaded(b, lightning.DefaultPageSize)
	b.Run(fmt.Sprintf("keys=%d/op=bare", *keyCount), func(b *testing.B) { benchmarkBareBackup(b, s.Path()) })
	b.Run(fmt.Sprintf("keys=%d/op=full", *keyCount), func(b *testing.B) {
		for b.Loop() {
			if err := s.View(func(tx *lightning.Tx) error {
				b.SetBytes(tx.Size())
				_, err := tx.WriteTo(io.Discard)
				return err
			}); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, key := range map[string]keyOrder{"row": sortedBackupKey, "scattered": randomKey} {
		b.Run(fmt.Sprintf("keys=%d/op=increment/changed=%s", *keyCount, name), func(b *testing.B) {
			benchmarkIncrement(b, s, key)
		})
	}
}

// sortedBackupKey is a key behind those that are there, in ascending order.
func sortedBackupKey(k *keyBuf, i int) []byte {
	copy(k[:], fmt.Appendf(nil, "~%015d", i))
	return k[:]
}

// benchmarkBareBackup reads the file in pieces of 1 MiB and hashes its pages.
func benchmarkBareBackup(b *testing.B, path string) {
	const page, piece = 4 << 10, 1 << 20
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	h, buf := arch.NewHasher(arch.Key{}), make([]byte, piece)
	pages, sums := make([][]byte, 0, piece/page), make([]arch.Digest, piece/page)
	for b.Loop() {
		size := int64(0)
		for {
			n, err := f.ReadAt(buf, size)
			pages = pages[:0]
			for at := 0; at+page <= n; at += page {
				pages = append(pages, buf[at:at+page])
			}
			h.SumMany(pages, sums[:len(pages)])
			size += int64(n)
			if err == io.EOF {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		b.SetBytes(size)
	}
}

func benchmarkIncrement(b *testing.B, s *store, key keyOrder) {
	var since lightning.State
	state := func() {
		if err := s.View(func(tx *lightning.Tx) (err error) {
			since, err = tx.State()
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
	state()
	load(b, s.DB, *keyCount/100, key, value)
	var written, full int64
	for b.Loop() {
		if err := s.View(func(tx *lightning.Tx) (err error) {
			full = tx.Size()
			written, err = tx.WriteIncrement(io.Discard, since)
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(written)/float64(full), "increment/full")
}
