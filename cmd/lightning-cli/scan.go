package main

import (
	"bytes"
	"context"

	lightning "github.com/lightning-db/lightning"
	"github.com/spf13/cobra"
)

// scanner is one scan: lo <= key < hi, nil being no bound.
type scanner struct {
	app      *app
	lo, hi   []byte
	reverse  bool
	keysOnly bool
	raw      bool
	limit    int // 0 is no limit
}

// scanLine is one line of scan -o json.
type scanLine struct {
	Key    string  `json:"key"`
	Value  *string `json:"value,omitempty"`
	Bucket bool    `json:"bucket,omitempty"`
}

func newScan(a *app) *cobra.Command {
	var prefix, from, to string
	s := &scanner{app: a}
	cmd := &cobra.Command{
		Use:   "scan DB [BUCKET]",
		Short: "Print the keys and values of a bucket in order",
		Long: `Print the entries of the bucket at the path BUCKET in key order, one a line: key, tab, value. A nested
bucket is a line of its own: its name, an empty value, and "(bucket)" in a last column that keys do
not have. Without BUCKET the top-level buckets are listed.
--prefix, --from (included) and --to (excluded) may be combined. With --raw bytes are written as they
are, tabs and newlines in them too.`,
		Example: `  lightning-cli scan app.db
  lightning-cli scan app.db users/eu --prefix al
  lightning-cli scan app.db events --from 2024-06 --to 2024-07 --keys-only
  lightning-cli scan app.db events --reverse --limit 10 -o json`,
		Args: argCount(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkRaw(cmd, s.raw); err != nil {
				return err
			}
			if s.limit < 0 {
				return usagef("--limit must not be negative")
			}
			if err := s.setBounds(prefix, from, to); err != nil {
				return err
			}
			return s.run(cmd.Context(), args[0], args[1:])
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&prefix, "prefix", "", "only keys that start with this")
	flags.StringVar(&from, "from", "", "only this key and those after it")
	flags.StringVar(&to, "to", "", "only keys before this one")
	flags.BoolVar(&s.reverse, "reverse", false, "last key first")
	flags.IntVar(&s.limit, "limit", 0, "stop after this many entries; 0 is no limit")
	flags.BoolVar(&s.keysOnly, "keys-only", false, "leave the values out")
	a.rawFlag(cmd, &s.raw)
	a.bucketFlag(cmd)
	a.keyFlag(cmd)
	a.valueFlag(cmd)
	return cmd
}

func (s *scanner) setBounds(prefix, from, to string) (err error) {
	if s.lo, err = s.app.keyBound(from); err != nil {
		return err
	}
	if s.hi, err = s.app.keyBound(to); err != nil {
		return err
	}
	p, err := s.app.keyBound(prefix)
	if err != nil || p == nil {
		return err
	}
	if bytes.Compare(p, s.lo) > 0 {
		s.lo = p
	}
	if end := prefixEnd(p); end != nil && (s.hi == nil || bytes.Compare(end, s.hi) < 0) {
		s.hi = end
	}
	return nil
}

// prefixEnd returns the first key after all keys that start with p, or nil if there is none.
func prefixEnd(p []byte) []byte {
	end := bytes.TrimRight(p, "\xff")
	if len(end) == 0 {
		return nil
	}
	end = bytes.Clone(end)
	end[len(end)-1]++
	return end
}

func (s *scanner) run(ctx context.Context, db string, bucket []string) error {
	var path [][]byte
	if len(bucket) > 0 {
		var err error
		if path, err = s.app.bucketEnc.decodePath(bucket[0]); err != nil {
			return err
		}
	}
	return s.app.withDB(ctx, db, readExisting, func(db *lightning.DB) error {
		return view(db, func(tx *lightning.Tx) error {
			b, err := s.app.findBucket(tx, path)
			if err != nil {
				return err
			}
			return s.scan(ctx, b.Cursor())
		})
	})
}

func (s *scanner) scan(ctx context.Context, c *lightning.Cursor) error {
	step := c.Next
	if s.reverse {
		step = c.Prev
	}
	printed := 0
	for k, v := s.first(c); k != nil && s.inside(k); k, v = step() {
		if s.limit > 0 && printed == s.limit {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.print(k, v); err != nil {
			return err
		}
		printed++
	}
	return nil
}

func (s *scanner) first(c *lightning.Cursor) (key, value []byte) {
	switch {
	case s.reverse && s.hi == nil:
		return c.Last()
	case s.reverse:
		if k, _ := c.Seek(s.hi); k == nil {
			return c.Last()
		}
		return c.Prev()
	case s.lo == nil:
		return c.First()
	}
	return c.Seek(s.lo)
}

func (s *scanner) inside(k []byte) bool {
	return bytes.Compare(k, s.lo) >= 0 && (s.hi == nil || bytes.Compare(k, s.hi) < 0)
}

func (s *scanner) print(k, v []byte) error {
	key, value := s.app.keyEnc.encode(k), ""
	if !s.keysOnly {
		value = s.app.valueEnc.encode(v)
	}
	isBucket := v == nil
	if s.app.json() {
		line := scanLine{Key: key, Bucket: isBucket}
		if !isBucket && !s.keysOnly {
			line.Value = &value
		}
		return s.app.emit(line)
	}
	if s.raw {
		key, value = string(k), string(v)
	}
	if !s.keysOnly {
		key += "\t" + value
	}
	if isBucket {
		key += "\t(bucket)"
	}
	_, err := s.app.out.WriteString(key + "\n")
	return err
}
