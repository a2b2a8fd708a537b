/*
 * config_doc.c - the table of parameters as text for `nodepass --help` and as Markdown for README.
 */
#include "core/config_table.h"

#include <string.h>

#include "base/banned.h"

static const struct {
	const char *name;
	enum np_role role;
} cores[] = {
    {"server", NP_ROLE_SERVER},
    {"client", NP_ROLE_CLIENT},
    {"master", NP_ROLE_MASTER},
};

static void put_cores(struct np_buf *out, const struct np_param_row *row)
{
	const char *mark = "";

	for (size_t i = 0; i < sizeof(cores) / sizeof(cores[0]); i++) {
		if (!np_param_is_of(row, cores[i].role))
			continue;
		np_buf_putf(out, "%s%s", mark, cores[i].name);
		mark = ", ";
	}
}

static const char *end_name(enum np_end end)
{
	switch (end) {
	case NP_END_INGRESS:
		return "ingress";
	case NP_END_EGRESS:
		return "egress";
	case NP_END_EITHER:
		break;
	}
	return "either";
}

void np_config_help(struct np_buf *out)
{
	char values[NP_VALUES_MAX];

	for (unsigned p = 0; p < NP_PARAM_COUNT; p++) {
		const struct np_param_row *row = np_param_row((enum np_param)p);

		np_param_values(row, values);
		np_buf_putf(out, "  %-7s %s\n          %s", row->name, row->help, values);
		if (row->def != NULL)
			np_buf_putf(out, "; default %s", row->def);
		np_buf_put_str(out, " (");
		put_cores(out, row);
		np_buf_put_str(out, ")\n");
	}
}

void np_config_markdown(struct np_buf *out)
{
	char values[NP_VALUES_MAX];

	np_buf_put_str(out, "| name | cores | values | default | end | meaning |\n"
			    "|---|---|---|---|---|---|\n");
	for (unsigned p = 0; p < NP_PARAM_COUNT; p++) {
		const struct np_param_row *row = np_param_row((enum np_param)p);

		np_param_values(row, values);
		np_buf_putf(out, "| `%s` | ", row->name);
		put_cores(out, row);
		np_buf_putf(out, " | %s | %s | %s | %s |\n", values,
			    row->def != NULL ? row->def : "–", end_name(row->end), row->help);
	}
}
