package chaos

import "slices"

// How hard a failure is reduced, in states judged: first what the processes do
// and where they end, then what the power cuts lose. And how many other endings
// a process is given when it does less than before.
const (
	shrinkStates = 4000
	mendStates   = 1000
	shrinkTries  = 60
)

// shrinker reduces the script of a failure. Whatever it keeps it has seen fail.
type shrinker struct {
	config Config
	dir    string
	found  *violation
	script script // that led to found
	left   int    // states that may still be judged
}

// shrink returns a violation that less leads to than to the given one: fewer
// processes, fewer steps of each, earlier crashes, and power cuts that lose less.
func shrink(c Config, v *violation, dir string) *violation {
	s := &shrinker{c, dir, v, scriptOf(v), shrinkStates}
	for before := -1; before != s.script.size() && s.left > 0; {
		before = s.script.size()
		s.dropProcesses()
		s.dropSteps()
		s.crashEarlier()
	}
	s.left = mendStates
	s.mend()
	return s.found
}

// try runs a script and keeps what it led to if that is a violation, and less
// than before: other endings than those tried may have led to it.
func (s *shrinker) try(smaller script, tries int) bool {
	if s.left <= 0 {
		return false
	}
	v, states := smaller.play(s.config, s.dir, tries)
	s.left -= states + 1
	if v == nil || !scriptOf(v).less(s.script) {
		return false
	}
	s.found, s.script = v, scriptOf(v)
	return true
}

// dropProcesses leaves out processes between the first and the last.
func (s *shrinker) dropProcesses() {
	for k := 0; k+1 < len(s.script.endings); k++ {
		smaller := s.script
		smaller.endings = slices.Delete(slices.Clone(smaller.endings), k, k+1)
		smaller.lives = slices.Delete(slices.Clone(smaller.lives), k+1, k+2)
		if s.try(smaller, shrinkTries) {
			k--
		}
	}
}

// dropSteps leaves out steps: of each process those that it began after the
// moment at which it crashed, then others, many at once and one by one. The last
// process first: the endings before it stay as they are.
func (s *shrinker) dropSteps() {
	for k := len(s.script.lives) - 1; k >= 0; k-- {
		if k < len(s.script.endings) {
			at := s.script.endings[k].at()
			life := s.script.lives[k]
			n := slices.IndexFunc(life, func(d done) bool { return d.position > at })
			if n >= 0 {
				s.try(s.script.without(k, n, len(life)), 0)
			}
		}
		if k >= len(s.script.lives) {
			continue
		}
		for size := max(1, len(s.script.lives[k])/2); size > 0; size /= 2 {
			for from := 0; k < len(s.script.lives) && from+size <= len(s.script.lives[k]); {
				if !s.try(s.script.without(k, from, from+size), shrinkTries) {
					from += size
				}
			}
		}
	}
}

// without returns the script without some steps of a process.
func (s script) without(process, from, to int) script {
	s.lives = slices.Clone(s.lives)
	s.lives[process] = slices.Delete(slices.Clone(s.lives[process]), from, to)
	return s
}

// crashEarlier looks for earlier positions at which the processes may end, the
// last first, in a few steps from the beginning.
func (s *shrinker) crashEarlier() {
	const positions, cuts = 12, 4
	for k := len(s.script.endings) - 1; k >= 0; k-- {
		tries := 0 // of the endings that come after
		if k < len(s.script.endings)-1 {
			tries = 6
		}
		for again := true; again && k < len(s.script.endings); {
			again = false
			at := s.script.endings[k].at()
			for i := 0; i < positions*cuts && !again; i++ {
				position := at * (i / cuts) / positions
				if i/cuts == positions-1 {
					position = at - 1
				}
				if position < 0 || position >= at {
					continue
				}
				earlier := s.script
				earlier.endings = slices.Clone(earlier.endings)
				earlier.endings[k] = earlier.endings[k].moved(position, uint64(i))
				again = s.try(earlier, tries)
			}
		}
	}
}

// mend makes pieces that the power cuts lost or tore get through, all at once,
// then fewer and fewer.
func (s *shrinker) mend() {
	for k := len(s.script.endings) - 1; k >= 0; k-- {
		c, ok := s.script.endings[k].(crash)
		for size := len(c.cut.Fates); ok && size > 0; size /= 2 {
			for from := 0; from < len(c.cut.Fates) && k < len(s.script.endings); from += size {
				mended := c
				mended.cut = c.cut.Mend(from, from+size)
				if mended.cut.Lacks() == c.cut.Lacks() {
					continue
				}
				more := s.script
				more.endings = slices.Clone(more.endings)
				more.endings[k] = mended
				if s.try(more, 0) {
					c = mended
				}
			}
		}
	}
}
