package cni_test

import (
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"slipway/cni"
)

// question is one connection and how it went.
type question struct{ what, answer string }

// questions are asked all at the same time: the ones that nobody answers take
// seconds.
type questions struct {
	all  []*question
	wait sync.WaitGroup
}

func (q *questions) ask(who string, by func(network, at string) string, network, at string) {
	one := &question{what: who + " asks " + network + " " + at}
	q.all = append(q.all, one)
	q.wait.Go(func() { one.answer = by(network, at) })
}

// traffic asks from everywhere to everywhere.
func (s *sight) traffic(l likeness, a *cni.Attachment) {
	eventually(s.t, "the host's addresses are settled", func() bool { return ip(s.t, "-6", "addr", "show", "tentative") == "" })
	one, two := s.pods["pod1"], s.pods["pod2"]
	q := &questions{}
	for _, addr := range a.Addresses {
		web, dns := net.JoinHostPort(addr.String(), "80"), net.JoinHostPort(addr.String(), "53")
		q.ask("host", ask, "tcp", web)
		q.ask("pod", two.ask, "tcp", web)
		q.ask("pod itself", one.ask, "tcp", web)
		q.ask("pod", two.ask, "udp", dns)
	}
	for _, world := range []string{"203.0.113.2", "fd99::2"} {
		q.ask("pod", one.ask, "tcp", net.JoinHostPort(world, "80"))
	}
	for _, to := range []string{"127.0.0.1", "203.0.113.1", "10.88.7.1", "10.88.0.1", "fd99::1", "fd88:7::1"} {
		if reachable(a, to) {
			s.hostPorts(q, l, to)
		}
	}
	q.wait.Wait()
	for _, one := range q.all {
		s.add(one.what, one.answer)
	}
}

func (s *sight) hostPorts(q *questions, l likeness, to string) {
	for _, p := range l.ports {
		if p.Protocol == "sctp" {
			continue
		}
		at := net.JoinHostPort(to, strconv.Itoa(int(p.HostPort)))
		q.ask("host", ask, p.Protocol, at)
		if to == "127.0.0.1" {
			continue // everybody's own
		}
		q.ask("pod", s.pods["pod2"].ask, p.Protocol, at)
		q.ask("pod itself", s.pods["pod1"].ask, p.Protocol, at)
		if to == "203.0.113.1" || to == "fd99::1" {
			q.ask("world", s.world.ask, p.Protocol, at)
		}
	}
}

// reachable leaves out addresses that the host does not have here.
func reachable(a *cni.Attachment, to string) bool {
	addr := netip.MustParseAddr(to)
	if !strings.Contains(string(a.Result), `"`+to+`"`) && !slices.Contains([]string{"127.0.0.1", "203.0.113.1", "fd99::1"}, to) {
		return false
	}
	return slices.ContainsFunc(a.Addresses, func(b netip.Addr) bool { return b.Is4() == addr.Is4() })
}

var (
	tableComment = regexp.MustCompile(`(?m)^\s*comment ".*"\n`)
	cniTable     = regexp.MustCompile(`(?ms)^table \w+ cni_.*?^\}\n`)
)

// rules are the tables of the reference, as the nft program lists them.
func (s *sight) rules() {
	out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	must(s.t, err)
	for _, table := range cniTable.FindAllString(tableComment.ReplaceAllString(string(out), ""), -1) {
		lines := strings.Split(table, "\n")
		slices.Sort(lines) // chains in any order; rules of a chain are compared by traffic
		s.add("rules", strings.Join(slices.DeleteFunc(lines, func(l string) bool { return strings.TrimSpace(l) == "" }), "\n"))
	}
}

// leftovers fails when a rule still names a pod.
func (s *sight) leftovers() {
	s.t.Helper()
	for _, list := range [][]string{{"nft", "list", "ruleset"}, {"iptables-save"}, {"ip6tables-save"}} {
		out, err := exec.Command(list[0], list[1:]...).CombinedOutput()
		must(s.t, err)
		if strings.Contains(string(out), "pod1") || strings.Contains(string(out), "pod2") {
			s.t.Errorf("rules left:\n%s", out)
		}
	}
}

// noDevices waits until the host has no end of a pair any more.
func (s *sight) noDevices() {
	s.t.Helper()
	eventually(s.t, "the pods' devices are gone", func() bool { return !vethForm.MatchString(ip(s.t, "link", "show")) })
}
