// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// An application for proxy_http_test.cc: http_server.js ADDRESS PORT. Prints the target of each request,
// and answers with it.
const [address, port] = process.argv.slice(2);
require("http")
  .createServer((request, response) => {
    console.log("asked for " + request.url);
    request.resume().on("end", () => response.end(request.url));
  })
  .listen(Number(port), address, () => console.log("listening"));
