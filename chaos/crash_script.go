package chaos

import (
	"math/rand/v2"
	"slices"
)

// script is a line of processes: what each did and how it ended, but for the
// last.
type script struct {
	plan    plan // options; its steps are those of the first process
	lives   [][]done
	endings []ending
}

// done is a step that a process has begun.
type done struct {
	step
	position int // of the recording, when it began
}

// ending is how a process ends.
type ending interface {
	// next lets the process end and judges the next one, which it returns if
	// that can go on.
	next(r *run, w *world) *world
	// again returns the same ending for another run of the process, false if
	// it does not suit that.
	again(w *world) (ending, bool)
	// other returns another one of its kind.
	other(w *world, rng *rand.Rand) ending
	// moved returns one of its kind at another position, without what was
	// chosen for this one.
	moved(position int, seed uint64) ending
	// at returns its position.
	at() int
}

func (c crash) next(r *run, w *world) *world {
	r.judged(c.fault)
	return r.survive(w, c)
}

func (c crash) again(w *world) (ending, bool) {
	end := w.disk.Position()
	if c.position > end {
		return nil, false
	}
	stale, last := w.disk.At(c.position).Stale, c.position == end
	if c.fault == faultKill && stale || c.fault == faultClosed && !(last && w.closed) || c.fault == faultReopened && !(last && stale) {
		return nil, false
	}
	same := w.crashAt(c.fault, c.position, c.seed)
	if c.fault == faultPower && c.cut.Unit > 0 {
		if same.cut = c.cut; !same.image.Fits(c.cut) {
			return nil, false
		}
	}
	return same, true
}

func (c crash) other(w *world, rng *rand.Rand) ending { return w.crash(rng) }

func (c crash) moved(position int, seed uint64) ending {
	if c.fault == faultClosed || c.fault == faultReopened {
		c.fault = faultPower // the others are at the end
	}
	return crash{fault: c.fault, position: position, seed: seed}
}

func (c crash) at() int { return c.position }

func (h harm) next(r *run, w *world) *world {
	r.damage(w, h)
	return nil
}

func (h harm) again(w *world) (ending, bool) {
	end := w.disk.Position()
	if h.position > end || h.position < w.opened || w.disk.Stale() || end == w.opened {
		return nil, false
	}
	return h, h.fault == faultRot || w.isWrite(h.write, h.position)
}

func (h harm) other(w *world, rng *rand.Rand) ending {
	if w.disk.Stale() || w.disk.Position() == w.opened {
		return w.crash(rng)
	}
	return w.harm(rng)
}

func (h harm) moved(position int, seed uint64) ending {
	h.position, h.seed = position, seed
	return h
}

func (h harm) at() int { return h.position }

// scriptOf returns what led to a violation.
func scriptOf(v *violation) script {
	s := script{plan: v.world.r.plan}
	s.plan.compact = false
	for w := v.world; w != nil; w = w.parent {
		if w.parent != nil && w.ending == nil {
			s.plan.compact = true // the world of a copy: go on to what was copied
			continue
		}
		s.lives = append(s.lives, w.steps)
		if w.parent != nil {
			s.endings = append(s.endings, w.ending)
		}
	}
	slices.Reverse(s.lives)
	slices.Reverse(s.endings)
	return s
}

// size returns the number of steps and endings.
func (s script) size() int {
	n := len(s.endings)
	for _, life := range s.lives {
		n += len(life)
	}
	return n
}

// less reports whether the script is a smaller case than the other: by its size,
// the moments of its endings, and what its power cuts lose.
func (s script) less(other script) bool {
	measure := func(s script) []int {
		m := []int{s.size(), 0, 0}
		for _, e := range s.endings {
			m[1] += e.at()
			if c, ok := e.(crash); ok {
				m[2] += c.cut.Lacks()
			}
		}
		return m
	}
	return slices.Compare(measure(s), measure(other)) < 0
}

// play runs the script. Of each process but the last it tries the ending as it
// is, and then so many others; with 0 exactly the script is run. It returns the
// violation met first, nil if there is none, and how many endings it judged.
func (s script) play(c Config, dir string, tries int) (*violation, int) {
	r := &run{config: c, plan: s.plan, dir: dir, res: &result{byFault: make(map[string]int)}}
	r.plan.steps = nil
	for _, d := range s.lives[0] {
		r.plan.steps = append(r.plan.steps, d.step)
	}
	v := r.catch(func() {
		w := r.first()
		r.follow(w, s, tries, rand.New(rand.NewPCG(s.plan.seed, uint64(s.size()))))
	})
	return v, r.res.states
}

// follow ends the process in the ways that the script allows, and goes on.
func (r *run) follow(w *world, s script, tries int, rng *rand.Rand) {
	if w.depth == len(s.endings) {
		return
	}
	ways, below := tries, tries
	if w.depth+1 < len(s.endings) {
		ways, below = (tries+5)/6, (tries+2)/3 // not all ways of all ways
	}
	e := s.endings[w.depth]
	if same, ok := e.again(w); ok {
		r.follows(w, same, s, tries, rng)
	}
	for range ways {
		r.follows(w, e.other(w, rng), s, below, rng)
	}
}

func (r *run) follows(w *world, e ending, s script, tries int, rng *rand.Rand) {
	v := e.next(r, w)
	if v == nil {
		return
	}
	for _, d := range s.lives[v.depth] {
		v.do(d.step)
	}
	v.end()
	r.follow(v, s, tries, rng)
}
