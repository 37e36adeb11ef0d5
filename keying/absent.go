package keying

// absent stands in each part of the revision of a bot that isn't there. No hash and no time is spelled so.
const absent = "absent"

// AbsentRevision is what is known of a bot that the server doesn't have: a correlation leaves it out
// until there is one of its name. Answers of other routes can't be keyed by it.
func AbsentRevision() Revision {
	return Revision{Strategy: absent, Exact: absent, Settings: absent, Metrics: absent}
}

// Absent reports whether the bot isn't there.
func (r Revision) Absent() bool { return r.Strategy == absent }

// Present lists those of the request's bots that are there. revs is parallel to q.Bots; bots of which it has none
// are taken to be there.
func (q *Request) Present(revs []Revision) []string {
	var list []string
	for i, bot := range q.Bots {
		if i >= len(revs) || !revs[i].Absent() {
			list = append(list, bot)
		}
	}
	return list
}

// shownWithout is how many of the bots an answer shows that leaves absent ones out; -1 where a server that
// hides a bot, but counts it, couldn't be told from one that doesn't have it: if the answer need not show them all.
func (q *Request) shownWithout(absent int) int {
	if !q.asked.all {
		return -1
	}
	return q.asked.count - absent
}
