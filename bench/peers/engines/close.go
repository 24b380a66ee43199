package engines

import (
	"errors"
	"io"
)

// closeAfter closes what was opened before err happened and returns both errors.
func closeAfter(err error, opened io.Closer) error {
	return errors.Join(err, opened.Close())
}
