package fsync

import "golang.org/x/sys/windows"

// lockByte returns the one byte that stands for the file. It lies beyond any
// data: locks of Windows are binding, and a locked byte cannot be read.
func lockByte() *windows.Overlapped {
	return &windows.Overlapped{Offset: 0xfffffffe, OffsetHigh: 0x7fffffff}
}

func flock(fd uintptr, exclusive bool) (busy bool, err error) {
	flags := uint32(windows.LOCKFILE_FAIL_IMMEDIATELY)
	if exclusive {
		flags |= windows.LOCKFILE_EXCLUSIVE_LOCK
	}
	err = windows.LockFileEx(windows.Handle(fd), flags, 0, 1, 0, lockByte())
	if err == windows.ERROR_LOCK_VIOLATION || err == windows.ERROR_IO_PENDING {
		return true, nil
	}
	return false, err
}

func funlock(fd uintptr) error {
	err := windows.UnlockFileEx(windows.Handle(fd), 0, 1, 0, lockByte())
	if err == windows.ERROR_NOT_LOCKED {
		return nil
	}
	return err
}
