package upstream

import "warmfront/proxy/board"

// Who is a caller, as far as the server can tell callers apart.
type Who struct {
	ID        string // a hash, the same on every replica
	Anonymous bool   // without credentials; then ID is of its address
}

// maxRefused bounds the callers that are remembered of a route. Past it the route stays as closed as it is then.
const maxRefused = 1000

// maxProofs bounds the subjects of which a route's success is remembered; what is forgotten is shown again by any entry
// that was fetched under the route's stamp.
const maxProofs = 10_000

// A stance is how the server treats callers on one route, as far as it has shown. The route is public for a subject (the
// saved bots that a request names, or nothing) once a caller without credentials had a success there under the present
// stamp. The stamp changes with every refusal, so that each needs a success that began after it. And
//   - while a caller without credentials is refused who had no success since, it is public for nobody: what tells such
//     callers apart is their address, and another's success says nothing about it;
//   - while one with credentials is refused, it is public for those without only: the server looks at credentials.
type stance struct {
	proofs  map[string]board.Stamp
	refused map[Who]bool
	// closed counts the refused without credentials, wary those with; full says that more were refused than are kept.
	closed, wary         int
	fullClosed, fullWary bool
}

func newStance() *stance { return &stance{proofs: map[string]board.Stamp{}, refused: map[Who]bool{}} }

// refuse notes that the caller was refused, and reports whether that was not known.
func (s *stance) refuse(w Who) (news bool) {
	if s.refused[w] {
		return false
	}
	if len(s.refused) >= maxRefused {
		news = w.Anonymous && !s.fullClosed || !w.Anonymous && !s.fullWary
		s.fullClosed, s.fullWary = s.fullClosed || w.Anonymous, s.fullWary || !w.Anonymous
		return news
	}
	s.refused[w] = true
	s.count(w, 1)
	return true
}

// forgive notes that the caller had a success, and reports whether it was refused before.
func (s *stance) forgive(w Who) (news bool) {
	if !s.refused[w] {
		return false
	}
	delete(s.refused, w)
	s.count(w, -1)
	return true
}

func (s *stance) count(w Who, by int) {
	if w.Anonymous {
		s.closed += by
	} else {
		s.wary += by
	}
}

// isClosed reports whether no caller without credentials speaks for others.
func (s *stance) isClosed() bool { return s.closed > 0 || s.fullClosed }

// succeed notes a success of the caller that began under the stamp, which is the present one, and reports whether it
// shows that the subject is public.
func (s *stance) succeed(w Who, subject string, stamp board.Stamp) (proven bool) {
	if !w.Anonymous || s.isClosed() || stamp == (board.Stamp{}) {
		return false
	}
	if _, known := s.proofs[subject]; !known && len(s.proofs) >= maxProofs {
		clear(s.proofs)
	}
	s.proofs[subject] = stamp
	return true
}

// serves reports whether a stored answer about the subject serves a caller that the server has not let have it.
func (s *stance) serves(subject string, stamp board.Stamp, anonymous bool) bool {
	if s.isClosed() || stamp == (board.Stamp{}) || s.proofs[subject] != stamp {
		return false
	}
	return anonymous || s.wary == 0 && !s.fullWary
}
