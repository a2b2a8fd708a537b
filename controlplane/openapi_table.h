/*
 * openapi_table.h - what the description of the API is made of. Rows: an operation (method, path,
 * what it takes, what it answers), a member of an object, an error with its text.
 */

#ifdef OA_ERROR /* (status, kind of answer, text) - kind: see OA_OP */
OA_ERROR(400, "Framing", "Missing Host header")
OA_ERROR(400, "Framing", "Invalid Content-Length")
OA_ERROR(400, "Body", "Invalid request body")
OA_ERROR(400, "Url", "Invalid URL format")
OA_ERROR(400, "Url", "Invalid URL scheme")
OA_ERROR(400, "Id", "Instance ID is required")
OA_ERROR(400, "Patch", "Invalid action: x")
OA_ERROR(400, "Patch", "Instance alias exceeds maximum length 256")
OA_ERROR(400, "Patch", "Meta peer.sid exceeds maximum length 256")
OA_ERROR(400, "Patch", "Meta tag key exceeds maximum length 256")
OA_ERROR(400, "Patch", "Meta tag value exceeds maximum length 256")
OA_ERROR(400, "Alias", "Master alias exceeds maximum length 256")
OA_ERROR(400, "Target", "Target address required")
OA_ERROR(401, "", "Unauthorized: API key required")
OA_ERROR(401, "", "Unauthorized: Invalid API key")
OA_ERROR(403, "", "Forbidden: API Key")
OA_ERROR(404, "", "Instance not found")
OA_ERROR(405, "", "Method not allowed")
OA_ERROR(409, "", "Instance URL conflict")
OA_ERROR(413, "", "Request body too large")
OA_ERROR(431, "", "Request header fields too large")
OA_ERROR(500, "", "the change could not be stored")
OA_ERROR(503, "", "too many changes at once, try again")
#undef OA_ERROR
#endif

/* (schema, member, type, more of the schema, description); the order is that of the answers */
#ifdef OA_FIELD
OA_FIELD("Instance", "id", "string", "\"pattern\":\"^([0-9a-f]{8}|[*]{8})$\"",
	 "8 hexadecimal digits; ******** is the API key itself")
OA_FIELD("Instance", "alias", "string", "\"maxLength\":256", "a name, at most 256 bytes")
OA_FIELD("Instance", "type", "string", "\"enum\":[\"client\",\"server\",\"\"]",
	 "empty for the API key")
OA_FIELD("Instance", "status", "string", "\"enum\":[\"running\",\"stopped\",\"error\",\"\"]",
	 "empty for the API key")
OA_FIELD("Instance", "url", "string", "", "as given, parameters sorted; of ********: the API key")
OA_FIELD("Instance", "config", "string", "",
	 "url with every parameter's value; of ********: the id of the master")
OA_FIELD("Instance", "restart", "boolean", "", "is started when the master starts")
OA_FIELD("Instance", "meta", "#Meta", "", "")
OA_FIELD("Instance", "mode", "count", "", "the mode it runs in, 0 = not known yet")
OA_FIELD("Instance", "ping", "count", "", "milliseconds to the other end")
OA_FIELD("Instance", "pool", "count", "", "idle connections in the pool")
OA_FIELD("Instance", "tcps", "count", "", "TCP sessions now")
OA_FIELD("Instance", "udps", "count", "", "UDP sessions now")
OA_FIELD("Instance", "tcprx", "count", "", "bytes")
OA_FIELD("Instance", "tcptx", "count", "", "bytes")
OA_FIELD("Instance", "udprx", "count", "", "bytes")
OA_FIELD("Instance", "udptx", "count", "", "bytes")
OA_FIELD("Meta", "peer", "#Peer", "", "")
OA_FIELD("Meta", "tags", "tags", "", "")
OA_FIELD("Peer", "sid", "string", "", "id of a service that spans instances")
OA_FIELD("Peer", "type", "string", "", "kind of the service")
OA_FIELD("Peer", "alias", "string", "", "name of the service")
OA_FIELD("Info", "mid", "string", "\"pattern\":\"^[0-9a-f]{16}$\"", "id of the master")
OA_FIELD("Info", "alias", "string", "", "name of the master")
OA_FIELD("Info", "os", "string", "", "")
OA_FIELD("Info", "arch", "string", "", "")
OA_FIELD("Info", "cpu", "integer", "\"minimum\":-1,\"maximum\":100", "percent busy, -1 = not known")
OA_FIELD("Info", "mem_total", "count", "", "bytes")
OA_FIELD("Info", "mem_used", "count", "", "bytes")
OA_FIELD("Info", "swap_total", "count", "", "bytes")
OA_FIELD("Info", "swap_used", "count", "", "bytes")
OA_FIELD("Info", "netrx", "count", "", "bytes of all real interfaces")
OA_FIELD("Info", "nettx", "count", "", "bytes of all real interfaces")
OA_FIELD("Info", "diskr", "count", "", "bytes of all whole disks")
OA_FIELD("Info", "diskw", "count", "", "bytes of all whole disks")
OA_FIELD("Info", "sysup", "count", "", "seconds since the machine started")
OA_FIELD("Info", "ver", "string", "", "version of the program")
OA_FIELD("Info", "name", "string", "", "host of the master's URL")
OA_FIELD("Info", "uptime", "count", "", "seconds since the master started")
OA_FIELD("Info", "log", "string", "", "log level of the master's URL")
OA_FIELD("Info", "tls", "string", "\"enum\":[\"0\",\"1\",\"2\"]", "TLS of the API")
OA_FIELD("Info", "crt", "string", "", "path of the certificate")
OA_FIELD("Info", "key", "string", "", "path of the certificate's key")
OA_FIELD("Ping", "target", "string", "", "as asked")
OA_FIELD("Ping", "connected", "boolean", "", "")
OA_FIELD("Ping", "latency", "count", "", "milliseconds, 0 without a connection")
OA_FIELD("Ping", "error", "nullable", "", "why there is no connection")
OA_FIELD("Error", "error", "string", "", "one of the texts above, or one that names the offender")
#undef OA_FIELD
#endif

/* What bodies hold. Nothing is required by PATCH and POST /info; null is as if absent. */
#ifdef OA_BODY
OA_BODY("NewInstance",
	"{\"type\":\"object\",\"required\":[\"url\"],\"properties\":{"
	"\"url\":{\"type\":\"string\",\"pattern\":\"^(server|client)://\",\"examples\":["
	"\"server://0.0.0.0:10101/0.0.0.0:8080?tls=1\"]},"
	"\"alias\":{\"type\":[\"string\",\"null\"],\"maxLength\":256}}}")
OA_BODY("NewUrl", "{\"type\":\"object\",\"required\":[\"url\"],\"properties\":{"
		  "\"url\":{\"type\":\"string\",\"pattern\":\"^(server|client)://\"}}}")
OA_BODY("Change",
	"{\"type\":\"object\",\"properties\":{"
	"\"alias\":{\"type\":[\"string\",\"null\"],\"maxLength\":256},"
	"\"action\":{\"type\":[\"string\",\"null\"],"
	"\"enum\":[\"start\",\"stop\",\"restart\",\"reset\",null]},"
	"\"restart\":{\"type\":[\"boolean\",\"null\"]},"
	"\"meta\":{\"type\":[\"object\",\"null\"],\"properties\":{"
	"\"peer\":{\"type\":[\"object\",\"null\"],\"properties\":{"
	"\"sid\":{\"type\":[\"string\",\"null\"],\"maxLength\":256},"
	"\"type\":{\"type\":[\"string\",\"null\"],\"maxLength\":256},"
	"\"alias\":{\"type\":[\"string\",\"null\"],\"maxLength\":256}}},"
	"\"tags\":{\"type\":[\"object\",\"null\"],"
	"\"additionalProperties\":{\"type\":[\"string\",\"null\"],\"maxLength\":256}}}}}}")
OA_BODY("Alias", "{\"type\":[\"object\",\"null\"],\"properties\":{"
		 "\"alias\":{\"type\":[\"string\",\"null\"],\"maxLength\":256}}}")
#undef OA_BODY
#endif

/*
 * (method, path, id of the operation, summary, schema of the body or NULL, status and schema of
 * success, kinds of 400, further statuses). "[X" = an array of X, "/type" = not JSON. Every operation
 * may also answer 400 "Framing", 405, 413, 431 and 503; those with a key 401.
 */
#ifdef OA_OP
OA_OP(HTTP_GET, "/instances", "listInstances", "All instances, the API key first", NULL, 200,
      "[Instance", "", "")
OA_OP(HTTP_POST, "/instances", "createInstance", "A new instance, which is started", "NewInstance",
      201, "Instance", "Body Url Patch", "500")
OA_OP(HTTP_GET, "/instances/", "getInstance", "One instance", NULL, 200, "Instance", "Id", "404")
OA_OP(HTTP_PATCH, "/instances/", "changeInstance",
      "Name, labels, start, stop, restart, reset; ******** with restart: a new API key", "Change",
      200, "Instance", "Id Patch", "404 409 500")
OA_OP(HTTP_PUT, "/instances/", "replaceInstance", "Another URL", "NewUrl", 200, "Instance",
      "Id Body Url", "403 404 409 500")
OA_OP(HTTP_DELETE, "/instances/", "deleteInstance", "Stops and forgets it", NULL, 204, NULL, "Id",
      "403 404 500")
OA_OP(HTTP_GET, "/events", "streamEvents",
      "Server-sent events: initial, create, update, delete, log, shutdown", NULL, 200,
      "/text/event-stream", "", "")
OA_OP(HTTP_GET, "/info", "getInfo", "The master and its machine", NULL, 200, "Info", "", "")
OA_OP(HTTP_POST, "/info", "setAlias", "The master's name", "Alias", 200, "Info", "Body Alias",
      "500")
OA_OP(HTTP_GET, "/tcping", "probe", "Can a TCP connection be made from the master?", NULL, 200,
      "Ping", "Target", "")
OA_OP(HTTP_GET, "/openapi.json", "getDescription", "This document", NULL, 200, "Any", "", "")
OA_OP(HTTP_GET, "/docs", "getDocs", "This document, for people", NULL, 200, "/text/html", "", "")
#undef OA_OP
#endif
