package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"warmfront/config"
	"warmfront/proxy/upstream"
)

// newTransport is the connection to the server. Node closes idle connections after five seconds,
// so we do so first: a request on a connection that is just being closed would fail.
func newTransport(cfg *config.Config) *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		MaxIdleConns:          0,
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       4 * time.Second,
		ExpectContinueTimeout: time.Second,
		// Content codings are the client's and the server's business.
		DisableCompression:     true,
		WriteBufferSize:        64 << 10,
		ReadBufferSize:         64 << 10,
		MaxResponseHeaderBytes: 1 << 20,
	}
}

// passing is what is known of a request that is being passed through: its body as it arrives and,
// on an intercepted route, what the answer says about itself.
type passing struct {
	body   *watchedBody
	mark   *passMark
	failed bool   // the server gave no answer
	served func() // once it has begun to answer, or won't
}

type passMark struct {
	outcome outcome
	reason  string
	key     string
	started time.Time
	status  int // once there is one

	timer    *time.Timer // ends the wait for an answer; it runs once the request has gone out whole
	answered atomic.Bool // the server may answer before that
}

// wait ends the request unless its answer begins within the time.
func (m *passMark) wait(atMost time.Duration) {
	m.timer.Reset(atMost)
	if m.answered.Load() {
		m.timer.Stop()
	}
}

// stop ends the waiting.
func (m *passMark) stop() {
	m.answered.Store(true)
	m.timer.Stop()
}

type passingKey struct{}

func passingOf(ctx context.Context) *passing {
	if p, ok := ctx.Value(passingKey{}).(*passing); ok {
		return p
	}
	return &passing{served: func() {}}
}

// newPassThrough streams requests to the server and answers back, untouched and unbuffered:
//   - the target goes on as it was written, Host is kept;
//   - X-Forwarded-For, -Host and -Proto go on as they came, because the server trusts exactly one
//     hop (contract, trap 11), and are set where they are absent;
//   - hop-by-hop fields are dropped by httputil (RFC 9110, section 7.6.1);
//   - nothing is retried but what net/http holds to be safe (see dropReplay).
func newPassThrough(cfg *config.Config, transport http.RoundTripper, origins *upstream.Origins, log *zap.Logger) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1,
		BufferPool:    &bufferPool{},
		ErrorLog:      NetLog(log),
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL.Scheme = cfg.UpstreamURL.Scheme
			pr.Out.URL.Host = cfg.UpstreamURL.Host
			pr.Out.URL.RawQuery = pr.In.URL.RawQuery
			pr.Out.Host = pr.In.Host
			forwardedFields(pr.Out.Header, pr.In)
			dropReplay(pr.Out)
		},
		ModifyResponse: func(res *http.Response) error {
			passingOf(res.Request.Context()).served()
			learnsOrigin(origins, res)
			if mark := passingOf(res.Request.Context()).mark; mark != nil {
				mark.write(res.Header, res.StatusCode)
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			passingOf(r.Context()).failed = true
			passFailed(w, r, err, log)
		},
	}
}

// passFailed answers for a server that gave no answer.
func passFailed(w http.ResponseWriter, r *http.Request, err error, log *zap.Logger) {
	going := passingOf(r.Context())
	cause := context.Cause(r.Context())
	tooSlow := errors.Is(cause, errUpstreamTimeout)
	status, message := http.StatusBadRequest, shortBody
	switch {
	case going.body != nil && going.body.failedBy(io.ErrUnexpectedEOF):
	case going.body != nil && going.body.failedBy(os.ErrDeadlineExceeded):
		status, message = http.StatusRequestTimeout, silentBody
		w.Header().Set("Connection", "close")
	case cause != nil && !tooSlow:
		panic(http.ErrAbortHandler) // the client has left; returning would answer 200
	default:
		if tooSlow {
			err = cause
		}
		status, message = failure(err), "upstream unavailable"
		log.Warn("pass-through failed", zap.String("method", r.Method), causeOf(err))
	}
	if going.mark != nil {
		going.mark.write(w.Header(), status)
	}
	writeError(w, status, message)
}

// failure is the status for a server that is down (502) or too slow (504).
func failure(err error) (status int) {
	var timeout net.Error
	if errors.Is(err, errUpstreamTimeout) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}

// forwardedFields puts the X-Forwarded-* fields of in into out.
func forwardedFields(out http.Header, in *http.Request) {
	proto := "http"
	if in.TLS != nil {
		proto = "https"
	}
	peer, _, err := net.SplitHostPort(in.RemoteAddr)
	if err != nil {
		peer = in.RemoteAddr
	}
	for name, own := range map[string]string{"X-Forwarded-For": peer, "X-Forwarded-Host": in.Host, "X-Forwarded-Proto": proto} {
		if values, ok := in.Header[name]; ok {
			out[name] = values
		} else {
			out[name] = []string{own}
		}
	}
	// httputil drops it before Rewrite, fearing forgery; the edge in front of us has seen to that.
	if values, ok := in.Header["Forwarded"]; ok {
		out["Forwarded"] = values
	}
}

// dropReplay keeps net/http from sending a request twice because it carries an Idempotency-Key: some
// of what passes places orders (contract, trap 13). net/http looks for the canonical spelling only;
// the server does not mind the other.
func dropReplay(out *http.Request) {
	if out.Method == http.MethodGet || out.Method == http.MethodHead {
		return
	}
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		if values, ok := out.Header[name]; ok {
			delete(out.Header, name)
			out.Header[strings.ToLower(name)] = values
		}
	}
}

// waitsAtMost is for how long a request that is passed counts as one that waits for the server.
const waitsAtMost = 10 * time.Second

// pass streams the request through and reports whether the server answered it. mark is nil on routes
// that are not intercepted.
func (p *Proxy) pass(w http.ResponseWriter, r *http.Request, mark *passMark) (answered bool) {
	going := &passing{mark: mark, served: sync.OnceFunc(p.waits(r.Context()))}
	// What has not begun by then may be a stream without news: nobody is kept waiting by computing.
	stream := time.AfterFunc(waitsAtMost, going.served)
	defer stream.Stop()
	defer going.served()
	if tap, ok := w.(*tapped); ok {
		tap.going = going
	}
	ctx, cancel := context.WithCancelCause(context.WithValue(r.Context(), passingKey{}, going))
	defer cancel(nil)
	sent := func() {}
	if mark != nil {
		mark.timer = time.AfterFunc(time.Hour, func() { cancel(errUpstreamTimeout) })
		mark.timer.Stop()
		defer mark.stop()
		sent = func() { mark.wait(p.cfg.UpstreamTimeout) }
	}
	r = r.WithContext(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		going.body = &watchedBody{ReadCloser: r.Body, sent: sent}
		r.Body = going.body
	} else {
		sent()
	}
	p.through.ServeHTTP(w, r)
	return !going.failed
}

// watchedBody tells when a request's body has gone out, and remembers how it ended.
type watchedBody struct {
	io.ReadCloser
	sent func()
	mu   sync.Mutex
	err  error
}

func (b *watchedBody) Read(buf []byte) (int, error) {
	n, err := b.ReadCloser.Read(buf)
	if err == nil {
		return n, nil
	}
	b.mu.Lock()
	first := b.err == nil
	b.err = err
	b.mu.Unlock()
	if first && err == io.EOF {
		b.sent()
	}
	return n, err
}

// failedBy reports whether the body ended with that error.
func (b *watchedBody) failedBy(err error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return errors.Is(b.err, err)
}

// bufferPool lends the copy buffers of the pass-through.
type bufferPool struct{ pool sync.Pool }

const copyBuffer = 64 << 10

func (b *bufferPool) Get() []byte {
	if buf, ok := b.pool.Get().(*[]byte); ok {
		return *buf
	}
	return make([]byte, copyBuffer)
}

func (b *bufferPool) Put(buf []byte) { b.pool.Put(&buf) }
