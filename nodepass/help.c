/*
 * help.c - what `nodepass` says about itself: see help.h.
 */
#include "help.h"

#include "core/config.h"
#include "core/env.h"

#include "base/banned.h"

static const char synopsis[] =
    "Usage: nodepass \"<core>://[<key>@]<tunnel_addr>/<target_addr>[,<target_addr>...]"
    "[?<name>=<value>&...]\"\n"
    "       nodepass \"<url>\" \"<url>\"... | @<file>...\n"
    "       nodepass \"master://<api_addr>[/<prefix>][?<name>=<value>&...]\"\n"
    "       nodepass ctl <command> [<argument>...]\n"
    "       nodepass key\n"
    "       nodepass --help | --version\n";

static const char cores[] =
    "Cores\n"
    "  server  waits on <tunnel_addr> for clients; visitors come in at <target_addr>, here "
    "(mode=1) or\n"
    "          at the client (mode=2, then <target_addr> is what the server connects to)\n"
    "  client  connects to the server at <tunnel_addr> and serves its own <target_addr> (mode=2), "
    "or\n"
    "          forwards from <tunnel_addr> to <target_addr> by itself (mode=1)\n"
    "  master  manages servers and clients of this host: REST API and events at <api_addr> below\n"
    "          <prefix> (/api), documented at <prefix>/v1/docs; what it manages outlives restarts\n"
    "\n"
    "  Addresses: host:port, [v6]:port, :port (all addresses). The key is what server and client "
    "have in\n"
    "  common; without one the port number stands in for it, which protects nothing.\n"
    "\n"
    "  Several URLs of servers and clients run in one process, each an instance with its number in "
    "the\n"
    "  log. @<file> holds a URL a line; what follows # is a comment. Nothing starts when one is "
    "wrong.\n";

static const char commands[] =
    "Commands and options\n"
    "  key         print a new random key\n"
    "  ctl         manage the instances of a running master; 'nodepass ctl "
    "help' has more\n"
    "  -h, --help  this text\n"
    "  --version   one line with the version\n";

static const char examples[] =
    "Examples\n"
    "  where visitors come in:  nodepass \"server://KEY@:10101/:8080?tls=1&mode=1\"\n"
    "  where the service is:    nodepass \"client://KEY@example.org:10101/127.0.0.1:80?mode=2\"\n"
    "  one end alone:           nodepass \"client://127.0.0.1:8080/example.org:80?mode=1\"\n"
    "  several in one process:  nodepass @tunnels.conf\n"
    "  many of them, managed:   nodepass \"master://127.0.0.1:9090\"\n"
    "                           nodepass ctl add \"server://KEY@:10101/:8080?tls=1&mode=1\"\n"
    "\n"
    "  Quote the URL: the shell has its own meaning for '&' and '?'.\n";

static const char statuses[] = "Exit status\n"
			       "  0 ended by SIGTERM or SIGINT, 1 failed at run time (or no "
			       "argument), 2 wrong command line, URL or\n"
			       "  file that the URL names\n";

void help_banner(struct np_buf *out)
{
	np_buf_putf(out, "nodepass v%s - TCP and UDP tunnels between hosts\n\n%s", NP_VERSION,
		    synopsis);
}

void help_version(struct np_buf *out)
{
	np_buf_putf(out, "nodepass %s (tunnel protocol 2)\n", NP_VERSION);
}

/* The variables that are words; those that are numbers come from tbl/env.def. */
static const struct {
	const char *name, *def, *help;
} words[] = {
    {"NP_RELAY", "auto", "how TCP moves between plain sockets: auto, copy or splice"},
    {"NP_LOG_COLOR", "1", "0 = no colours on standard output"},
    {"NO_COLOR", "–", "any value: no colours on standard output"},
    {"NP_LOG_FORMAT", "text", "form of log lines: text, logfmt or json"},
    {"NP_STATE_DIR", "by user", "folder of a master's state; root: /var/lib/nodepass"},
    {"NP_RUN_DIR", "by user", "folder of sockets and locks; root: /run/nodepass"},
    {"NP_DATAPLANE", "supervised", "external = a master starts and stops no data plane"},
    {"NP_METRICS_KEY", "–", "a key that opens /metrics of a master and nothing else"},
    {"NP_IMPORT_GOB", "–", "nodepass.gob of 1.x, taken over when a master has no state yet"},
    {"NP_API", "–", "nodepass ctl: address of the API, such as https://host:9090/api/v1"},
    {"NP_API_KEY", "–", "nodepass ctl: key of the API"},
};

void help_usage(struct np_buf *out)
{
	np_buf_putf(out, "%s\n%s\n%s\nParameters\n", synopsis, cores, commands);
	np_config_help(out);
	np_buf_put_str(out, "\nEnvironment\n");
	np_env_help(out);
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		np_buf_putf(out, "  %-21s %s\n", words[i].name, words[i].help);
	np_buf_putf(out, "\n%s\n%s", examples, statuses);
}

void help_markdown(struct np_buf *out)
{
	np_buf_put_str(out, "<!-- table: parameters -->\n");
	np_config_markdown(out);
	np_buf_put_str(out, "<!-- end -->\n<!-- table: environment -->\n");
	np_env_markdown(out);
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		np_buf_putf(out, "| `%s` | %s | – | – | %s |\n", words[i].name, words[i].def,
			    words[i].help);
	np_buf_put_str(out, "<!-- end -->\n");
}
