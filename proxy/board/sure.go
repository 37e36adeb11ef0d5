package board

import (
	"time"

	"warmfront/keying/rule"
)

// Sure reports whether no notice of another replica can have been missed. When Redis was away it takes a
// lease longer than InTouch: another replica, which reads again a little later, has yet to say what it could
// not say meanwhile.
func (b *Board) Sure() bool {
	return rule.Off(rule.CutOffAsks) || b.InTouch() && b.elapsed() >= b.sureFrom.Load()
}

// InTouch reports whether the board was read lately.
func (b *Board) InTouch() bool {
	return b.client == nil || b.elapsed() < b.leaseEnds.Load()
}

// CutOff reports whether other replicas may be doing what this one does not hear of: it isn't sure, and was not
// the only one when it last could tell. It goes on then, and asks the server for whatever the board would have
// told (README, "While Redis is away").
func (b *Board) CutOff() bool { return !b.Sure() && !b.alone.Load() }

// CutOffSince is when the present outage began, or the last one that is over: what was seen of the server since is
// not older than anything that was missed at its beginning.
func (b *Board) CutOffSince() time.Time {
	if ended := b.leaseEnds.Load(); b.client != nil && ended != 0 && b.elapsed() >= ended {
		return b.start.Add(time.Duration(ended))
	}
	return b.start.Add(time.Duration(b.lostAt.Load()))
}

// Young reports whether the board may hold less than other replicas know: its life has begun a moment ago, and
// they may not be back. A Redis that was not heard from holds nothing that could be read.
func (b *Board) Young() bool {
	return b.InTouch() && b.client != nil && b.elapsed() < b.grownAt.Load()
}

// Trouble is why the last look failed; nil when it did not. Without Redis there is none.
func (b *Board) Trouble() error {
	if err := b.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

// Mute reports whether Redis does not let this replica publish: others read from it, a little later.
func (b *Board) Mute() bool { return b.mute.Load() }

// othersForgotten reports whether the writes that others had under way when the board was last read must be over, or
// in doubt for long enough: while Redis is away nobody says that they are.
func (b *Board) othersForgotten() bool {
	ended := b.leaseEnds.Load()
	return b.client != nil && ended != 0 && b.elapsed() > ended+int64(inDoubt)
}

func (b *Board) elapsed() int64 { return int64(time.Since(b.start)) }
