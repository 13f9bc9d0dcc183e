package kubelet

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway/test/streams"
)

// What the kubelet says of a pod; the fields have their names in the API.
type (
	pod struct {
		Metadata struct{ Name, UID string }
		Status   struct {
			Phase, PodIP string
			Conditions   []struct{ Type, Status string }
			Init         []container `json:"initContainerStatuses"`
			Containers   []container `json:"containerStatuses"`
		}
	}
	container struct {
		Name, ContainerID string
		Ready             bool
		RestartCount      int
		State, LastState  state
	}
	state struct {
		Waiting    *struct{ Reason, Message string }
		Running    *struct{ StartedAt time.Time }
		Terminated *struct {
			ExitCode              int
			Reason, Message       string
			StartedAt, FinishedAt time.Time
		}
	}
)

func (s state) String() string {
	switch {
	case s.Waiting != nil:
		return fmt.Sprintf("waiting %+v", *s.Waiting)
	case s.Running != nil:
		return "running"
	case s.Terminated != nil:
		return fmt.Sprintf("terminated %+v", *s.Terminated)
	}
	return "nothing"
}

func (p *pod) ready() bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c struct{ Type, Status string }) bool {
		return c.Type == "Ready" && c.Status == "True"
	})
}

// container finds one by name; the zero value if there is none.
func (p *pod) container(name string) container {
	for _, c := range slices.Concat(p.Status.Init, p.Status.Containers) {
		if c.Name == name {
			return c
		}
	}
	return container{}
}

const api = "https://127.0.0.1:10250/"

// client asks the kubelet, whose certificate it has signed itself.
var client = &http.Client{
	Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
	Timeout:   patience,
}

func get(path string) (string, error) {
	r, err := client.Get(api + path)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, r.Status, b)
	}
	return string(b), err
}

func (k *kubelet) list() ([]pod, error) {
	text, err := get("pods")
	if err != nil {
		return nil, err
	}
	var all struct{ Items []pod }
	return all.Items, json.Unmarshal([]byte(text), &all)
}

// look is the pod of that name; the zero value if there is none.
func (k *kubelet) look(name string) pod {
	pods, _ := k.list()
	for _, p := range pods {
		if p.Metadata.Name == name+"-machine" {
			return p
		}
	}
	return pod{}
}

// ready waits until a pod is, and returns it.
func (k *kubelet) ready(name string) pod {
	k.T.Helper()
	var p pod
	k.until(name+" is ready", func() bool { p = k.look(name); return p.ready() })
	return p
}

// gone has the kubelet end a pod and waits until nothing is left of it but what the kubelet
// collects later.
func (k *kubelet) gone(name string) {
	k.T.Helper()
	dir := filepath.Join(k.dir, "root", "pods", k.look(name).Metadata.UID)
	k.remove(name)
	k.until(name+" is gone", func() bool {
		_, err := os.Stat(dir)
		return k.look(name).Metadata.Name == "" && errors.Is(err, fs.ErrNotExist)
	})
}

// log is what a container wrote, through the kubelet.
func (k *kubelet) log(pod, name, query string) string {
	k.T.Helper()
	text, err := get("containerLogs/default/" + pod + "-machine/" + name + "?" + query)
	if err != nil {
		return err.Error()
	}
	return text
}

// session is the address of a session through the kubelet.
func session(verb, pod, name string, w streams.Want, command ...string) string {
	q := url.Values{"command": command, "output": {"1"}}
	for key, yes := range map[string]bool{"input": w.Stdin, "error": w.Stderr, "tty": w.TTY} {
		if yes {
			q.Set(key, "1")
		}
	}
	return api + verb + "/default/" + pod + "-machine/" + name + "?" + q.Encode()
}

// run runs a command in a container to its end, through the kubelet.
func (k *kubelet) run(pod, name string, command ...string) (string, int, error) {
	want := streams.Want{Stdout: true, Stderr: true}
	s, err := streams.SPDY(k.context(), session("exec", pod, name, want, command...), want)
	if err != nil {
		return "", 0, err
	}
	defer s.Close()
	out, errs, code, err := s.Finish()
	return strings.TrimSpace(out + errs), code, err
}

// sh runs a script, which must succeed.
func (k *kubelet) sh(pod, name, script string) string {
	k.T.Helper()
	out, code, err := k.run(pod, name, "sh", "-c", script)
	if err != nil || code != 0 {
		k.T.Errorf("%s in %s: code %d, %v: %s", script, name, code, err, out)
	}
	return out
}

// want compares.
func want(t *testing.T, what, got, wanted string) {
	t.Helper()
	if got != wanted {
		t.Errorf("%s: %q, want %q", what, got, wanted)
	}
}
