package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	lightning "github.com/lightning-db/lightning"
)

// Bounds of one transaction. etcd's own defaults are 128 operations and 1.5 MiB.
const (
	etcdBatchPuts  = 100
	etcdBatchBytes = 512 << 10
	etcdAttempts   = 8
)

// etcdUserEnv holds NAME:PASSWORD, which other users could see on a command line.
const etcdUserEnv = "LIGHTNING_ETCD_USER"

// etcdOptions are the flags of export that concern etcd.
type etcdOptions struct {
	endpoints []string
	prefix    string
	separator string
	overwrite bool
	caFile    string
	certFile  string
	keyFile   string
}

func (o *etcdOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&o.endpoints, "to-etcd", nil, "URLs of etcd's members: write keys and values there, not a tree")
	f.StringVar(&o.prefix, "etcd-prefix", "", "what all keys in etcd begin with")
	f.StringVar(&o.separator, "etcd-separator", "/", "one byte between the names of buckets and the key")
	f.BoolVar(&o.overwrite, "etcd-overwrite", false, "write though etcd has keys with the prefix")
	f.StringVar(&o.caFile, "etcd-ca-file", "", "certificates that etcd's is checked against (default the system's)")
	f.StringVar(&o.certFile, "etcd-cert-file", "", "certificate of this client")
	f.StringVar(&o.keyFile, "etcd-key-file", "", "key of this client's certificate")
}

// etcdPut is a key and its value as etcd's JSON gateway wants them.
type etcdPut struct {
	Key   []byte `json:"key"`
	Value []byte `json:"value"`
}

// etcdSummary is what was written to etcd.
type etcdSummary struct {
	Keys         int     `json:"keys"`
	Buckets      int     `json:"buckets"`
	EmptyBuckets int     `json:"empty_buckets"` // of which nothing is left in etcd
	Sequences    int     `json:"sequences"`     // the same
	Bytes        int64   `json:"bytes"`
	Seconds      float64 `json:"seconds"`
}

// etcdExporter writes a snapshot of a database to etcd, transaction by
// transaction. The path of a bucket becomes the prefix of its keys.
type etcdExporter struct {
	ctx       context.Context
	opts      etcdOptions
	client    *http.Client
	token     string // of the user, "" without one
	separator byte
	progress  *progress
	total     int64 // entries known of so far

	puts  []etcdPut
	bytes int
	sum   etcdSummary
}

func (a *app) exportEtcd(ctx context.Context, db, bucket string, opts etcdOptions) (err error) {
	path, err := a.bucketEnc.decodeBase(bucket)
	if err != nil {
		return err
	}
	ex := &etcdExporter{ctx: ctx, opts: opts}
	if err := ex.prepare(); err != nil {
		return err
	}
	started := time.Now()
	err = a.withDB(ctx, db, readExisting, func(handle *lightning.DB) error {
		return view(handle, func(tx *lightning.Tx) error {
			b, err := a.findBucket(tx, path)
			if err != nil {
				return err
			}
			if err := ex.begin(); err != nil {
				return err
			}
			ex.total = int64(b.Len())
			ex.progress = a.newProgress("export", ex.total, countItems)
			defer ex.progress.finish()
			if err := ex.bucket(b, []byte(opts.prefix)); err != nil {
				return err
			}
			return ex.flush()
		})
	})
	if err != nil {
		return err
	}
	ex.sum.Seconds = time.Since(started).Seconds()
	if n := ex.sum.EmptyBuckets; n > 0 {
		err = errors.Join(err, a.warn("%d empty buckets: etcd has no place for them", n))
	}
	if n := ex.sum.Sequences; n > 0 {
		err = errors.Join(err, a.warn("sequences of %d buckets: etcd has no place for them", n))
	}
	switch {
	case a.json():
		return errors.Join(err, a.emit(ex.sum))
	case !a.quiet:
		a.printf("exported: keys %d, buckets %d, bytes %d, seconds %.1f\n", ex.sum.Keys, ex.sum.Buckets, ex.sum.Bytes, ex.sum.Seconds)
	}
	return err
}

// prepare checks the flags and makes the client.
func (ex *etcdExporter) prepare() error {
	for i, url := range ex.opts.endpoints {
		if !strings.HasPrefix(url, "http://") && !strings.HasPrefix(url, "https://") {
			return usagef("--to-etcd: %q is no URL, want http://HOST:PORT or https://HOST:PORT", url)
		}
		ex.opts.endpoints[i] = strings.TrimSuffix(url, "/")
	}
	s := ex.opts.separator
	if len(s) != 1 || strings.ContainsAny(s, "%0123456789ABCDEFabcdef") {
		return usagef("--etcd-separator: %q, want one byte that is no hexadecimal digit and not %%", s)
	}
	ex.separator = s[0]
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if name := ex.opts.caFile; name != "" {
		pem, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return usagef("--etcd-ca-file: %s has no certificate", name)
		}
	}
	if ex.opts.certFile != "" || ex.opts.keyFile != "" {
		cert, err := tls.LoadX509KeyPair(ex.opts.certFile, ex.opts.keyFile)
		if err != nil {
			return fmt.Errorf("--etcd-cert-file, --etcd-key-file: %w", err)
		}
		config.Certificates = []tls.Certificate{cert}
	}
	ex.client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: config, Proxy: http.ProxyFromEnvironment}}
	return nil
}

// begin logs in and makes sure that nothing is overwritten.
func (ex *etcdExporter) begin() error {
	if user, ok := os.LookupEnv(etcdUserEnv); ok {
		name, password, ok := strings.Cut(user, ":")
		if !ok {
			return usagef("%s is not NAME:PASSWORD", etcdUserEnv)
		}
		var login struct{ Token string }
		if err := ex.call("auth/authenticate", map[string]string{"name": name, "password": password}, &login); err != nil {
			return err
		}
		ex.token = login.Token
	}
	if ex.opts.overwrite {
		return nil
	}
	from, to := []byte(ex.opts.prefix), prefixEnd([]byte(ex.opts.prefix))
	if len(from) == 0 {
		from = []byte{0} // the first key
	}
	if to == nil {
		to = []byte{0} // no end
	}
	var found struct{ Count json.Number }
	if err := ex.call("kv/range", map[string]any{"key": from, "range_end": to, "count_only": true}, &found); err != nil {
		return err
	}
	if found.Count != "" && found.Count != "0" {
		return fmt.Errorf("etcd has %s keys that begin with %q: choose another --etcd-prefix, or write over them with --etcd-overwrite", found.Count, ex.opts.prefix)
	}
	return nil
}

// bucket writes what is in b under the prefix.
func (ex *etcdExporter) bucket(b *lightning.Bucket, prefix []byte) error {
	if b.Sequence() > 0 {
		ex.sum.Sequences++
	}
	if b.Len() == 0 {
		ex.sum.EmptyBuckets++
	}
	return b.ForEach(func(k, v []byte) error {
		if err := ex.ctx.Err(); err != nil {
			return err
		}
		if v != nil {
			return ex.put(append(bytes.Clone(prefix), k...), v)
		}
		ex.sum.Buckets++
		name := ex.escape(k)
		if twin, value := b.Cursor().Seek(name); value != nil && bytes.HasPrefix(twin, name) {
			return fmt.Errorf("key %q of a bucket would have the same prefix in etcd as the bucket %q beside it: choose another --etcd-separator", twin, k)
		}
		child := b.Bucket(k)
		if child == nil {
			return fmt.Errorf("bucket %q: cannot be read", k)
		}
		ex.total += int64(child.Len())
		return ex.bucket(child, append(bytes.Clone(prefix), name...))
	})
}

// escape returns the name of a bucket with the separator behind it and not in it.
func (ex *etcdExporter) escape(name []byte) (escaped []byte) {
	for _, c := range name {
		if c == ex.separator || c == '%' {
			escaped = fmt.Appendf(escaped, "%%%02X", c)
		} else {
			escaped = append(escaped, c)
		}
	}
	return append(escaped, ex.separator)
}

func (ex *etcdExporter) put(key, value []byte) error {
	size := len(key) + len(value)
	if len(ex.puts) == etcdBatchPuts || len(ex.puts) > 0 && ex.bytes+size > etcdBatchBytes {
		if err := ex.flush(); err != nil {
			return err
		}
	}
	ex.puts = append(ex.puts, etcdPut{key, value})
	ex.bytes += size
	ex.sum.Keys++
	ex.sum.Bytes += int64(size)
	return nil
}

// flush writes the keys collected, in one transaction of etcd.
func (ex *etcdExporter) flush() error {
	if len(ex.puts) == 0 {
		return nil
	}
	type operation struct {
		Put etcdPut `json:"request_put"`
	}
	operations := make([]operation, len(ex.puts))
	for i, put := range ex.puts {
		operations[i].Put = put
	}
	var done struct{ Succeeded bool }
	if err := ex.call("kv/txn", map[string]any{"success": operations}, &done); err != nil {
		return fmt.Errorf("from key %q on: %w", ex.puts[0].Key, err)
	}
	if !done.Succeeded {
		return fmt.Errorf("from key %q on: etcd did not do the transaction", ex.puts[0].Key)
	}
	ex.puts, ex.bytes = ex.puts[:0], 0
	ex.progress.set(int64(ex.sum.Keys+ex.sum.Buckets), ex.total)
	return nil
}

// call posts to etcd's JSON gateway. A member that does not answer, or has no
// leader, is followed by the next; what was asked may be asked again.
func (ex *etcdExporter) call(method string, request, response any) (err error) {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	for attempt := range etcdAttempts {
		endpoint := ex.opts.endpoints[attempt%len(ex.opts.endpoints)]
		again := false
		if again, err = ex.post(endpoint+"/v3/"+method, body, response); !again {
			return err
		}
		select {
		case <-ex.ctx.Done():
			return ex.ctx.Err()
		case <-time.After(time.Duration(attempt+1) * 100 * time.Millisecond):
		}
	}
	return err
}

// post reports whether it makes sense to ask again, perhaps another member.
func (ex *etcdExporter) post(url string, body []byte, response any) (again bool, err error) {
	request, err := http.NewRequestWithContext(ex.ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	request.Header.Set("Content-Type", "application/json")
	if ex.token != "" {
		request.Header.Set("Authorization", ex.token)
	}
	answer, err := ex.client.Do(request)
	if err != nil {
		var untrusted *tls.CertificateVerificationError
		return ex.ctx.Err() == nil && !errors.As(err, &untrusted), err
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err = errors.Join(err, answer.Body.Close()); err != nil {
		return true, fmt.Errorf("%s: %w", url, err)
	}
	if answer.StatusCode == http.StatusOK {
		if err := json.Unmarshal(text, response); err != nil {
			return false, fmt.Errorf("%s: answer of etcd: %w", url, err)
		}
		return false, nil
	}
	var said struct{ Message string }
	if json.Unmarshal(text, &said) != nil || said.Message == "" {
		said.Message = string(bytes.TrimSpace(text[:min(len(text), 200)]))
	}
	switch answer.StatusCode {
	case http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusTooManyRequests:
		again = true
	}
	return again, fmt.Errorf("%s: etcd answers %s: %s", url, answer.Status, said.Message)
}
