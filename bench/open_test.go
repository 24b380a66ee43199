package bench

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/lightning-db/lightning"
)

// BenchmarkOpen measures Open, without Close, of a file that was closed and of
// a copy that was made while the database was open, after a durable commit: it
// has what a kill leaves, and Open validates what the commit wrote.
func BenchmarkOpen(b *testing.B) {
	for _, size := range pageSizes {
		b.Run(fmt.Sprintf("page=%d/keys=%d", size, *keyCount), func(b *testing.B) {
			s := loaded(b, size)
			s.NoSync = false
			if err := putOne(s.DB, newPicker(1).key()); err != nil {
				b.Fatal(err)
			}
			killed := filepath.Join(b.TempDir(), "killed.ldb")
			if err := copyFile(killed, s.Path()); err != nil {
				b.Fatal(err)
			}
			closed := s.Path()
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			b.Run("end=clean", func(b *testing.B) { benchmarkOpen(b, closed, size, false) })
			b.Run("end=unclean", func(b *testing.B) { benchmarkOpen(b, killed, size, true) })
		})
	}
}

// benchmarkOpen opens the file again and again. Close writes nothing but a
// meta page, so putting both back makes an unclean file what it was.
func benchmarkOpen(b *testing.B, path string, pageSize int, unclean bool) {
	metas, err := readFirst(path, 2*pageSize)
	if err != nil {
		b.Fatal(err)
	}
	validated := 0
	options := &lightning.Options{OnRecovery: func(p lightning.RecoveryProgress) { validated += p.Pages }}
	opens := 0
	var db *lightning.DB
	measureBetween(b, func() {
		if db != nil {
			if err := db.Close(); err != nil {
				b.Fatal(err)
			}
		}
		if err := writeFirst(path, metas); err != nil {
			b.Fatal(err)
		}
	}, func() (err error) {
		opens++
		db, err = lightning.Open(path, 0o600, options)
		return err
	})
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	if unclean != (validated > 0) {
		b.Fatalf("%d pages validated in %d opens", validated, opens)
	}
	b.ReportMetric(float64(validated)/float64(opens), "validated-pages")
}

// copyFile makes a durable copy of the file from.
func copyFile(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Sync()
}

// readFirst returns the first n bytes of the file.
func readFirst(path string, n int) (p []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	p = make([]byte, n)
	_, err = io.ReadFull(f, p)
	return p, err
}

// writeFirst durably replaces the first bytes of the file.
func writeFirst(path string, p []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteAt(p, 0); err != nil {
		return err
	}
	return f.Sync()
}

// BenchmarkFirstTouch measures the gets of 1,000 keys right after an Open, the
// Open included: their pages are not verified yet.
func BenchmarkFirstTouch(b *testing.B) {
	const gets = 1000
	for _, size := range pageSizes {
		b.Run(fmt.Sprintf("page=%d/keys=%d", size, *keyCount), func(b *testing.B) {
			s := loaded(b, size)
			path := s.Path()
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			var db *lightning.DB
			measureBetween(b, func() {
				if db != nil {
					if err := db.Close(); err != nil {
						b.Fatal(err)
					}
				}
			}, func() (err error) {
				if db, err = lightning.Open(path, 0o600, nil); err != nil {
					return err
				}
				return db.View(func(tx *lightning.Tx) error {
					bk, p := tx.Bucket(bucket), newPicker(1)
					for range gets {
						if err := get(bk, p); err != nil {
							return err
						}
					}
					return nil
				})
			})
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/gets, "ns/get")
			if err := db.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
