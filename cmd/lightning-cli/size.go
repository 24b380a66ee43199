package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// byteSize is a flag that counts bytes: a number with an optional K, M or G (powers of 1024).
type byteSize int64

const (
	kib byteSize = 1 << 10
	mib byteSize = 1 << 20
	gib byteSize = 1 << 30
)

func (s *byteSize) String() string {
	switch {
	case *s >= gib && *s%gib == 0:
		return fmt.Sprintf("%dG", *s/gib)
	case *s >= mib && *s%mib == 0:
		return fmt.Sprintf("%dM", *s/mib)
	case *s >= kib && *s%kib == 0:
		return fmt.Sprintf("%dK", *s/kib)
	}
	return strconv.FormatInt(int64(*s), 10)
}

// Type is the name of the flag's value in help texts.
func (s *byteSize) Type() string { return "size" }

// Set is called by the flag parser.
func (s *byteSize) Set(text string) error {
	digits, unit := strings.ToUpper(text), byteSize(1)
	for suffix, bytes := range map[string]byteSize{"K": kib, "M": mib, "G": gib} {
		if number, found := strings.CutSuffix(digits, suffix); found {
			digits, unit = number, bytes
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 1 || n > math.MaxInt64/int64(unit) {
		return fmt.Errorf("%q is not a size such as 4096, 8K or 4M", text)
	}
	*s = byteSize(n) * unit
	return nil
}
