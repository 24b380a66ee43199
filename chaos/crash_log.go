package chaos

import (
	"errors"
	"sync/atomic"

	"github.com/lightning-db/lightning"
)

// warnings is a lightning.Logger that counts what warns or worse.
type warnings struct{ n atomic.Int32 }

func (l *warnings) Debug(...any)            {}
func (l *warnings) Debugf(string, ...any)   {}
func (l *warnings) Info(...any)             {}
func (l *warnings) Infof(string, ...any)    {}
func (l *warnings) Warning(...any)          { l.n.Add(1) }
func (l *warnings) Warningf(string, ...any) { l.n.Add(1) }
func (l *warnings) Error(...any)            { l.n.Add(1) }
func (l *warnings) Errorf(string, ...any)   { l.n.Add(1) }
func (l *warnings) Fatal(...any)            { l.n.Add(1) }
func (l *warnings) Fatalf(string, ...any)   { l.n.Add(1) }
func (l *warnings) Panic(...any)            { l.n.Add(1) }
func (l *warnings) Panicf(string, ...any)   { l.n.Add(1) }

// corruption reports whether the error says that the file is damaged.
func corruption(err error) bool {
	for _, typed := range []error{
		lightning.ErrChecksum, lightning.ErrInvalid, lightning.ErrVersionMismatch, lightning.ErrIntegrityKey,
	} {
		if errors.Is(err, typed) {
			return true
		}
	}
	return false
}
