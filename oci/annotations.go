package oci

import "strings"

// Informative annotations, named as tools that read specs know them.
const (
	annotationPrefix    = "io.kubernetes.cri."
	annotationType      = annotationPrefix + "container-type"
	annotationSandboxID = annotationPrefix + "sandbox-id"
	annotationContainer = annotationPrefix + "container-name"
	annotationImage     = annotationPrefix + "image-name"
	annotationPodName   = annotationPrefix + "sandbox-name"
	annotationNamespace = annotationPrefix + "sandbox-namespace"
	annotationPodUID    = annotationPrefix + "sandbox-uid"
)

// commandPrefixes begin annotations by which some runtimes take commands
// (CVE-2024-3154). Nothing here reads an annotation of a spec; still they are
// left out, so that a spec that is handed on cannot carry such a command.
var commandPrefixes = []string{
	annotationPrefix, "io.kubernetes.cri-o.", "io.containerd.", "io.katacontainers.",
	"run.oci.", "org.systemd.", "org.criu.", "dev.gvisor.", "com.github.containers.",
}

// annotationsOf gives the request's annotations and our own. Nothing of the
// image enters (CVE-2026-53488).
func annotationsOf(in ContainerInput) map[string]string {
	out := make(map[string]string)
	for k, v := range in.Container.GetAnnotations() {
		if !isCommand(k) {
			out[k] = v
		}
	}
	pod := in.Pod.GetMetadata()
	out[annotationType] = "container"
	out[annotationSandboxID] = in.PodID
	out[annotationContainer] = in.Container.GetMetadata().GetName()
	out[annotationImage] = in.Container.GetImage().GetImage()
	out[annotationPodName] = pod.GetName()
	out[annotationNamespace] = pod.GetNamespace()
	out[annotationPodUID] = pod.GetUid()
	return out
}

func isCommand(key string) bool {
	for _, p := range commandPrefixes {
		if strings.HasPrefix(key, p) {
			return true
		}
	}
	return false
}
