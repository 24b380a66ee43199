package arch

import (
	"math/bits"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/cpuid/v2"
)

func TestHashPath(t *testing.T) {
	for _, tt := range []struct {
		name   string
		goarch string
		env    string // the one variable that is set
		has    []cpuid.FeatureID
		want   string
	}{
		{"all", "amd64", "", []cpuid.FeatureID{cpuid.AVX512F, cpuid.AVX512VL, cpuid.AVX2, cpuid.SSE4}, "avx512"},
		{"avx512 off", "amd64", "BLAKE3_DISABLE_AVX512", []cpuid.FeatureID{cpuid.AVX512F, cpuid.AVX512VL, cpuid.AVX2}, "avx2"},
		{"avx512 by avx2 off", "amd64", "BLAKE3_DISABLE_AVX2", []cpuid.FeatureID{cpuid.AVX512F, cpuid.AVX512VL, cpuid.AVX2}, "portable"},
		{"wide vectors only", "amd64", "", []cpuid.FeatureID{cpuid.AVX512F, cpuid.AVX2}, "avx2"},
		{"no avx512", "amd64", "", []cpuid.FeatureID{cpuid.AVX2, cpuid.SSE4}, "avx2"},
		{"no avx2", "amd64", "", []cpuid.FeatureID{cpuid.SSE4}, "sse4.1"},
		{"nothing", "amd64", "", nil, "portable"},
		{"avx2 off", "amd64", "BLAKE3_DISABLE_AVX2", []cpuid.FeatureID{cpuid.AVX2, cpuid.SSE4}, "sse4.1"},
		{"sse off", "amd64", "BLAKE3_DISABLE_SSE41", []cpuid.FeatureID{cpuid.SSE4}, "portable"},
		{"all off", "amd64", "BLAKE3_PUREGO", []cpuid.FeatureID{cpuid.AVX2, cpuid.SSE4}, "portable"},
		{"no vector code", "386", "", []cpuid.FeatureID{cpuid.AVX2, cpuid.SSE4}, "portable"},
		{"arm", "arm64", "", []cpuid.FeatureID{cpuid.ASIMD}, "portable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			getenv := func(name string) string {
				if name == tt.env {
					return "1"
				}
				return ""
			}
			has := func(id cpuid.FeatureID) bool { return slices.Contains(tt.has, id) }
			want := tt.want
			if purego {
				want = "portable"
			}
			if got := hashPath(getenv, tt.goarch, has); got != want {
				t.Errorf("hashPath = %q, want %q", got, want)
			}
		})
	}
}

func TestFeatures(t *testing.T) {
	info := Features()
	if info.GOARCH != runtime.GOARCH || info.WordBits != bits.UintSize {
		t.Errorf("GOARCH %s, %d bits, want %s, %d", info.GOARCH, info.WordBits, runtime.GOARCH, bits.UintSize)
	}
	if info.PageSize < 4096 || info.PageSize&(info.PageSize-1) != 0 {
		t.Errorf("page size %d", info.PageSize)
	}
	if !slices.IsSorted(info.Features) {
		t.Errorf("features are not sorted: %v", info.Features)
	}
	s := info.String()
	for _, part := range append(info.Features, info.GOARCH, info.HashPath, info.CPU) {
		if !strings.Contains(s, part) {
			t.Errorf("String() = %q lacks %q", s, part)
		}
	}
}

func TestMaxReserve(t *testing.T) {
	want := int64(64 << 40)
	if bits.UintSize == 32 {
		want = 256 << 20
	}
	if MaxReserve != want {
		t.Errorf("MaxReserve = %d, want %d", MaxReserve, want)
	}
}
