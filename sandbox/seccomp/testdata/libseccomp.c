/*
 * Builds a filter with libseccomp and writes it to standard output. Standard
 * input, one word a field:
 *   default ACTION | arch TOKEN | rule ACTION NAME COUNT {INDEX OP A B}
 * Names that libseccomp does not know are written to standard error.
 */
#include <inttypes.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
	scmp_filter_ctx ctx = NULL;
	char word[16], name[64];
	uint32_t action, token;

	while (scanf("%15s", word) == 1) {
		if (!strcmp(word, "default")) {
			if (scanf("%" SCNu32, &action) != 1 || !(ctx = seccomp_init(action)))
				return 2;
		} else if (!strcmp(word, "arch")) {
			if (scanf("%" SCNu32, &token) != 1)
				return 3;
			int rc = seccomp_arch_add(ctx, token);
			if (rc && rc != -17)
				return 4;
		} else if (!strcmp(word, "rule")) {
			struct scmp_arg_cmp args[6] = {0};
			unsigned count, op;
			if (scanf("%" SCNu32 "%63s%u", &action, name, &count) != 3 || count > 6)
				return 5;
			for (unsigned i = 0; i < count; i++) {
				if (scanf("%u%u%" SCNu64 "%" SCNu64, &args[i].arg, &op, &args[i].datum_a, &args[i].datum_b) != 4)
					return 6;
				args[i].op = op;
			}
			int nr = seccomp_syscall_resolve_name(name);
			if (nr == __NR_SCMP_ERROR) {
				fprintf(stderr, "%s\n", name);
				continue;
			}
			if (seccomp_rule_add_array(ctx, action, nr, count, args)) {
				fprintf(stderr, "!%s\n", name);
				return 7;
			}
		} else {
			return 8;
		}
	}
	return seccomp_export_bpf(ctx, 1) ? 9 : 0;
}
