package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// gateway is a server that takes what export sends. compat/etcd has the test with etcd.
type gateway struct {
	url      string
	keys     map[string]string
	requests int
	busy     int    // so many requests are answered with 503
	token    string // that is asked for, "" for none
	batches  []int  // puts of each transaction
}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	g := &gateway{keys: make(map[string]string)}
	s := httptest.NewServer(g)
	t.Cleanup(s.Close)
	g.url = s.URL
	return g
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.requests++
	fail := func(code int, message string) {
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"error":%q,"code":14,"message":%q}`, message, message)
	}
	if g.busy > 0 {
		g.busy--
		fail(http.StatusServiceUnavailable, "etcdserver: no leader")
		return
	}
	var request struct {
		Name, Password string
		Key            []byte
		Success        []struct {
			Put *etcdPut `json:"request_put"`
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		fail(http.StatusBadRequest, err.Error())
		return
	}
	if r.URL.Path == "/v3/auth/authenticate" {
		if request.Name+":"+request.Password != "root:secret" {
			fail(http.StatusBadRequest, "etcdserver: authentication failed, invalid user ID or password")
			return
		}
		fmt.Fprintf(w, `{"token":%q}`, g.token)
		return
	}
	if r.Header.Get("Authorization") != g.token {
		fail(http.StatusUnauthorized, "etcdserver: invalid auth token")
		return
	}
	switch r.URL.Path {
	case "/v3/kv/range":
		fmt.Fprintf(w, `{"header":{},"count":"%d"}`, len(g.keys))
	case "/v3/kv/txn":
		for _, op := range request.Success {
			g.keys[string(op.Put.Key)] = string(op.Put.Value)
		}
		g.batches = append(g.batches, len(request.Success))
		fmt.Fprint(w, `{"succeeded":true}`)
	default:
		fail(http.StatusNotFound, "Not Found")
	}
}

func TestExportEtcd(t *testing.T) {
	g := newGateway(t)
	db := newDB(t)
	var many []string
	for i := range 250 {
		many = append(many, fmt.Sprintf("k%03d", i), "v")
	}
	fill(t, db, "many", many...)
	fill(t, db, "a", "plain", "1", "empty", "")
	fill(t, db, "a/nested", "x", "2")
	cli(t, exitOK, "put", db, "a%2Fb%25", "y", "3", "--create-buckets", "--bucket-encoding", "text")
	g.busy = 2
	out, _ := cli(t, exitOK, "export", db, "--to-etcd", g.url, "--etcd-prefix", "app/")
	if !strings.Contains(out, "keys 254, buckets 4") {
		t.Errorf("summary: %s", out)
	}
	for key, want := range map[string]string{"app/many/k249": "v", "app/a/plain": "1", "app/a/empty": "", "app/a/nested/x": "2"} {
		if got, ok := g.keys[key]; got != want || !ok {
			t.Errorf("%s: got %q, %t; want %q", key, got, ok, want)
		}
	}
	wantEqual(t, "keys", len(g.keys), 254)
	if slices.Max(g.batches) != etcdBatchPuts || len(g.batches) != 3 {
		t.Errorf("transactions of %v puts", g.batches)
	}

	before := maps.Clone(g.keys)
	_, stderr := cli(t, exitGeneral, "export", db, "--to-etcd", g.url)
	if !strings.Contains(stderr, "--etcd-overwrite") {
		t.Errorf("no advice: %s", stderr)
	}
	cli(t, exitOK, "export", db, "--to-etcd", g.url, "--etcd-prefix", "app/", "--etcd-overwrite")
	if !maps.Equal(before, g.keys) {
		t.Error("written again, the keys differ")
	}
	clear(g.keys)
	cli(t, exitOK, "export", db, "--to-etcd", g.url, "--bucket", "a/nested", "--etcd-separator", ":")
	if !maps.Equal(g.keys, map[string]string{"x": "2"}) {
		t.Errorf("of one bucket: %v", g.keys)
	}
}

// A separator in a bucket's name is escaped, one in a key is not.
func TestExportEtcd_Names(t *testing.T) {
	g := newGateway(t)
	db := newDB(t)
	fill(t, db, "a:b%c", "k:1", "v")
	cli(t, exitOK, "export", db, "--to-etcd", g.url, "--etcd-separator", ":")
	if !maps.Equal(g.keys, map[string]string{"a%3Ab%25c:k:1": "v"}) {
		t.Errorf("keys: %v", g.keys)
	}
}

// Two keys of the database must not become one of etcd.
func TestExportEtcd_Ambiguous(t *testing.T) {
	g := newGateway(t)
	db := newDB(t)
	fill(t, db, "a", "nested/x", "1")
	fill(t, db, "a/nested", "x", "2")
	_, stderr := cli(t, exitGeneral, "export", db, "--to-etcd", g.url)
	if !strings.Contains(stderr, "--etcd-separator") || !strings.Contains(stderr, "nested") {
		t.Errorf("no advice: %s", stderr)
	}
	wantEqual(t, "keys written", len(g.keys), 0)
	cli(t, exitOK, "export", db, "--to-etcd", g.url, "--etcd-separator", ":")
	wantEqual(t, "keys written", len(g.keys), 2)
}

func TestExportEtcd_Errors(t *testing.T) {
	g := newGateway(t)
	db := newDB(t)
	fill(t, db, "a", "k", "v")
	for _, args := range [][]string{
		{},
		{"dir", "--to-etcd", g.url},
		{"--to-etcd", "127.0.0.1:2379"},
		{"--to-etcd", g.url, "--etcd-separator", "::"},
		{"--to-etcd", g.url, "--etcd-separator", "%"},
		{"--to-etcd", g.url, "--etcd-separator", "a"},
		{"--to-etcd", g.url, "--etcd-ca-file", db},
	} {
		cli(t, exitUsage, append([]string{"export", db}, args...)...)
	}
	cli(t, exitNotFound, "export", db, "--to-etcd", g.url, "--bucket", "none")
	wantEqual(t, "requests", g.requests, 0)
	closed := httptest.NewServer(g)
	closed.Close()
	_, stderr := cli(t, exitIO, "export", db, "--to-etcd", closed.URL)
	if !strings.Contains(stderr, closed.URL) {
		t.Errorf("the error does not name the member: %s", stderr)
	}
	cli(t, exitOK, "export", db, "--to-etcd", closed.URL+","+g.url) // the next one answers

	g.token = "token"
	_, stderr = cli(t, exitGeneral, "export", db, "--to-etcd", g.url, "--etcd-overwrite")
	if !strings.Contains(stderr, "invalid auth token") {
		t.Errorf("etcd's words are lost: %s", stderr)
	}
	t.Setenv(etcdUserEnv, "root:wrong")
	cli(t, exitGeneral, "export", db, "--to-etcd", g.url, "--etcd-overwrite")
	t.Setenv(etcdUserEnv, "nobody")
	cli(t, exitUsage, "export", db, "--to-etcd", g.url, "--etcd-overwrite")
	t.Setenv(etcdUserEnv, "root:secret")
	cli(t, exitOK, "export", db, "--to-etcd", g.url, "--etcd-overwrite")
}

// TestExportEtcd_TLS: the member proves who it is, and so does the client.
func TestExportEtcd_TLS(t *testing.T) {
	g := newGateway(t)
	server := httptest.NewUnstartedServer(g)
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	dir := t.TempDir()
	pemFile := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		writeTestFile(t, path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
		return path
	}
	own := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	ca := pemFile("ca.pem", "CERTIFICATE", server.Certificate().Raw)
	cert, keyFile := pemFile("cert.pem", "CERTIFICATE", own.Certificate[0]), pemFile("key.pem", "PRIVATE KEY", key)
	db := newDB(t)
	fill(t, db, "a", "k", "v")
	// Whose certificate is it?
	cli(t, exitGeneral, "export", db, "--to-etcd", server.URL, "--etcd-cert-file", cert, "--etcd-key-file", keyFile)
	// Who is asking?
	cli(t, exitGeneral, "export", db, "--to-etcd", server.URL, "--etcd-ca-file", ca)
	wantEqual(t, "requests", g.requests, 0)
	cli(t, exitGeneral, "export", db, "--to-etcd", server.URL, "--etcd-cert-file", cert)
	cli(t, exitOK, "export", db, "--to-etcd", server.URL, "--etcd-ca-file", ca, "--etcd-cert-file", cert, "--etcd-key-file", keyFile)
	wantEqual(t, "value", g.keys["a/k"], "v")
}
