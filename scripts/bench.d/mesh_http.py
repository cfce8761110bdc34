# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""The rows of `scripts/bench mesh` for HTTP."""
import contextlib
import dataclasses
import pathlib
import shutil
import tempfile

import common
from proxies import LOAD, PORT, PORTS, SERVER, namespaces, redirect_to, run_load, serve
from rows import Goal, Row

# What all write, with the values that a proxy cannot know left out.
LINE = ('{{"start_time":"{}","duration":{},"bytes_received":{},"bytes_sent":{},'
        '"downstream_remote_address":"{}","downstream_local_address":"{}","upstream_host":"{}",'
        '"upstream_local_address":"{}","upstream_cluster":"outbound|9000||{}","response_flags":"{}",'
        '"response_code":{},"connection_termination_details":"-","upstream_transport_failure_reason":"-",'
        '"requested_server_name":"-","protocol":"{}","method":"{}","path":"{}","authority":"{}",'
        '"user_agent":"{}","request_id":"{}","upstream_service_time":"{}","x_forwarded_for":"{}",'
        '"route_name":"default","response_code_details":"via_upstream"}}')

HAPROXY = """
global
  nbthread {threads}
  maxconn 4000
defaults
  mode http
  option tcpka
  {splice}
  log stdout format raw local0
  log-format '{line}'
  timeout connect 10s
  timeout client 1h
  timeout server 1h
listen redirected
  bind :15001
  option transparent
  http-request capture req.hdr(host) len 128
  http-request capture req.hdr(user-agent) len 128
  http-request set-header x-request-id %[uuid] unless {{ req.hdr(x-request-id) -m found }}
  http-request capture req.hdr(x-request-id) len 64
  http-request capture req.hdr(x-forwarded-for) len 64
  http-request set-header x-b3-traceid %[rand,hex]%[rand,hex]
  http-request set-header x-b3-spanid %[rand,hex]
  http-request set-header x-b3-sampled 0
  http-request set-header x-forwarded-proto http unless {{ req.hdr(x-forwarded-proto) -m found }}
  http-request set-header x-envoy-attempt-count 1
  http-request del-header x-forwarded-client-cert
  http-response set-header server envoy
  http-response set-header x-envoy-upstream-service-time %Tr
"""
HAPROXY_LINE = LINE.format(
    "%t", "%Ta", "%U", "%B", "%ci:%cp", "%[dst]:%[dst_port]", "%si:%sp", "%bi:%bp", "%[capture.req.hdr(0)]",
    "%ts", "%ST", "%HV", "%HM", "%[capture.req.uri,json(utf8s)]", "%[capture.req.hdr(0),json(utf8s)]",
    "%[capture.req.hdr(1),json(utf8s)]", "%[capture.req.hdr(2),json(utf8s)]", "%Tr",
    "%[capture.req.hdr(3),json(utf8s)]")
SPLICE = "option splice-request\n  option splice-response"

# Buffers of 64 KiB: what it would otherwise lose with large bodies is not what is compared here.
NGINX = """
daemon off;
pid {directory}/nginx.pid;
error_log stderr crit;
worker_processes {threads};
worker_rlimit_nofile 20000;
events {{ worker_connections 9900; }}
http {{
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  log_format line escape=json '{line}';
  access_log {directory}/access.log line buffer=64k flush=1s;
  map $http_x_request_id $id {{ "" $request_id; default $http_x_request_id; }}
  map $http_x_forwarded_proto $proto {{ "" $scheme; default $http_x_forwarded_proto; }}
  map $request_id $span {{ "~^.{{16}}(?<low>.*)$" $low; }}
  upstream application {{ server {server}:{port}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 15001 reuseport so_keepalive=on;
    tcp_nodelay on;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    location / {{
      proxy_pass http://application;
      proxy_http_version 1.1;
      proxy_socket_keepalive on;
      proxy_buffer_size 16k;
      proxy_buffers 8 64k;
      proxy_busy_buffers_size 128k;
      proxy_max_temp_file_size 0;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header x-request-id $id;
      proxy_set_header x-b3-traceid $request_id;
      proxy_set_header x-b3-spanid $span;
      proxy_set_header x-b3-sampled 0;
      proxy_set_header x-forwarded-proto $proto;
      proxy_set_header x-envoy-attempt-count 1;
      proxy_set_header x-forwarded-client-cert "";
      add_header x-envoy-upstream-service-time $upstream_header_time;
    }}
  }}
}}
"""
NGINX_LINE = LINE.format(
    "$time_iso8601", "$request_time", "$content_length", "$body_bytes_sent", "$remote_addr:$remote_port",
    "$server_addr:$server_port", "$upstream_addr", "-", "$host", "-", "$status", "$server_protocol",
    "$request_method", "$request_uri", "$http_host", "$http_user_agent", "$id", "$upstream_header_time",
    "$http_x_forwarded_for")


@dataclasses.dataclass(frozen=True)
class Candidate:
    name: str
    command: object  # (directory, threads) -> argv
    ports: int = PORTS
    logs_requests: bool = True


def haproxy(splice):
    def command(directory, threads):
        config = directory / "haproxy.cfg"
        config.write_text(HAPROXY.format(threads=threads, line=HAPROXY_LINE, splice=SPLICE if splice else ""))
        return ["sh", "-c", f"exec haproxy -db -f {config} >{directory}/access.log"]
    return command


def nginx(directory, threads):
    config = directory / "nginx.conf"
    config.write_text(NGINX.format(directory=directory, threads=threads, server=SERVER, port=PORT,
                                   line=NGINX_LINE))
    return ["nginx", "-q", "-p", str(directory), "-c", str(config)]


def sluice(program, http):
    def command(directory, threads):
        return [str(program), f"--concurrency={threads}", f"--http={http}",
                f"--access-log={directory}/access.log"]
    return command


SLUICE = Candidate("sluice-proxy", sluice(common.BIN / "sluice-proxy", "auto"))
# For comparison: relayed without looking.
PLAIN = Candidate("sluice-proxy, no http", sluice(common.BIN / "sluice-proxy", "off"), logs_requests=False)
NGINX_HTTP = Candidate("nginx", nginx, ports=1)
HAPROXY_HTTP = Candidate("haproxy", haproxy(splice=False))
HAPROXY_SPLICE = Candidate("haproxy splice", haproxy(splice=True))


def before(program):
    return Candidate("before", sluice(program, "auto"))


def measure_load(candidate, threads, seconds, connections, body_bytes):
    """What the load reports, and the CPU seconds of the proxy while it worked."""
    with contextlib.ExitStack() as stack:
        client, server = stack.enter_context(namespaces())
        directory = pathlib.Path(tempfile.mkdtemp(prefix="sluice-bench-"))
        stack.callback(shutil.rmtree, directory)
        directory.chmod(0o777)
        serve(stack, server)
        pid = redirect_to(stack, client, candidate.command(directory, threads), candidate.name)
        argv = [str(LOAD), "http", SERVER, str(PORT), str(candidate.ports), str(connections), str(seconds),
                str(body_bytes)]
        result, cpu = run_load(client, argv, pid, candidate.name)
        if result["errors"]:
            raise RuntimeError(f"{candidate.name}: {result['errors']} connections broke")
        if not result["bytes"]:
            raise RuntimeError(f"{candidate.name} has moved nothing: is the machine busy?")
        # The last lines may still be in a buffer. HAProxy drops lines when it cannot write at once.
        logged = (directory / "access.log").stat().st_size
        if candidate.logs_requests and body_bytes < 1 << 20 and logged < 250 * result["count"]:
            raise RuntimeError(f"{candidate.name}: {result['count']} requests, but {logged} bytes of log")
        return result, cpu


def measure_small(connections):
    def measure(candidate, threads, seconds):
        result, cpu = measure_load(candidate, threads, seconds, connections, 128)
        count = max(1, result["count"])
        return cpu / count * 1e6, result["p50_us"], result["p99_us"], count / result["seconds"]
    return measure


def measure_large(candidate, threads, seconds):
    result, cpu = measure_load(candidate, threads, seconds, 8, 16 << 20)
    gigabytes = result["bytes"] / 1e9
    return cpu / gigabytes, gigabytes * 8 / result["seconds"]


SMALL = ("CPU µs each", "p50 µs", "p99 µs", "per s")
PEERS = (SLUICE, NGINX_HTTP, HAPROXY_HTTP, PLAIN)
ROWS = (
    Row("http", "HTTP: keep-alive, answers of 128 bytes, 64 connections", SMALL, PEERS, measure_small(64),
        (Goal(0, NGINX_HTTP.name, 0.85), Goal(0, HAPROXY_HTTP.name, 0.85), Goal(2, NGINX_HTTP.name, 1.0)),
        before=before),
    Row("http-single", "HTTP: keep-alive, answers of 128 bytes, 1 connection", SMALL, PEERS, measure_small(1),
        (Goal(1, NGINX_HTTP.name, 1.0),), before=before),
    Row("http-large", "HTTP: bodies of 16 MiB, 8 connections", ("CPU s/GB", "Gbit/s"),
        (SLUICE, NGINX_HTTP, HAPROXY_HTTP, HAPROXY_SPLICE, PLAIN), measure_large,
        (Goal(0, NGINX_HTTP.name, 0.85), Goal(0, HAPROXY_SPLICE.name, 1.0)), before=before),
)
