// Package registry reads manifests and blobs from container registries: names
// the hosts to ask (hosts.toml), authenticates, retries, resumes and checks.
//
// It is not a store: bytes come out of it and nothing is kept. It reads only;
// there is no push.
//
// The trap: replies are hostile. A redirect or a token realm may name any
// address, a body may be of any length, and an error text may hold a secret.
// All of that is handled here and nowhere else.
package registry
