#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""matrix.py PROGRAMS PACKAGES [clean|bad [SEED]] [NAME...]: real clients and servers through two proxies.

Two pods have the rules of sluice-init and a sluice-proxy each, from the directory PROGRAMS. All servers
run in one of them, all clients in the other one, over IPv4 and IPv6. What is transferred must be the same
at both ends, and both access logs must have the connections. Connections that are silent meanwhile must
still be there in the end. PACKAGES has Debian packages that are only unpacked, so that no service starts.
With `bad` the link between the pods loses, delays, doubles and reorders packets (bad_link.py). With NAMEs
only those cases run. Needs root."""
import collections
import concurrent.futures
import ctypes
import dataclasses
import hashlib
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from pods import APPLICATION_UID, PATIENCE, Failed, Pod, connect, end_children, find_program, wait_for

HERE = pathlib.Path(__file__).resolve().parent
SKIPPED = 77  # ctest's code for it; in CI that is a failure
PR_SET_CHILD_SUBREAPER = 36
# Of the proxies on the clean link: connections that are silent for longer must not mind it.
CONNECT_TIMEOUT = 5
BIG_RECORD = [hashlib.sha512(b"%d" % number).hexdigest() for number in range(8)]
TEXT_RECORD = " ".join(f'"{part}"' for part in BIG_RECORD)


@dataclasses.dataclass
class Server:
    """A program in the server's pod. In its texts {0} is a directory of its own."""
    program: str
    ready: object  # a port, or a text in its output
    command: str
    prepare: str = "true"
    files: dict = dataclasses.field(default_factory=dict)
    uid: int = APPLICATION_UID


DNSMASQ = ("dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root "
           "--pid-file= --port={port} --address=/four.test/192.0.2.4 --address=/six.test/2001:db8::6 "
           "--synth-domain=many.test,192.0.2.0/24,n --txt-record=big.test," + ",".join(BIG_RECORD))
# All is in the pod: in /tmp, a server that starts removes the temporary tables of all others.
MARIADB_DATA = ("--no-defaults --datadir=/dev/shm/mariadb --tmpdir=/dev/shm --skip-name-resolve "
                "--innodb-use-native-aio=0 --innodb-flush-log-at-trx-commit=0 --innodb-log-file-size=8M "
                "--innodb-buffer-pool-size=16M --innodb-fast-shutdown=2")
SERVERS = {
    "ssh": Server(
        "sshd", 2222, "$sshd -D -e -f {0}/conf", uid=0, prepare="""
          ssh-keygen -q -t ed25519 -N '' -f {0}/host_key
          ssh-keygen -q -t ed25519 -N '' -f {0}/key
          chown 1000 {0}/key""", files={"conf": """
            Port 2222
            HostKey {0}/host_key
            AuthorizedKeysFile {0}/key.pub
            PasswordAuthentication no
            StrictModes no
            PidFile none
            Subsystem sftp internal-sftp
          """}),
    "postgresql": Server(
        "postgres", "ready to accept connections", """$postgres -D {0}/data -c fsync=off -c jit=off
          -c unix_socket_directories= -c listen_addresses=* -c shared_buffers=16MB
          -c authentication_timeout=600""", """
          $initdb --no-sync --no-instructions -A trust -U app --no-locale -E UTF8 -D {0}/data
          echo 'host all all all trust' >>{0}/data/pg_hba.conf"""),
    # Its tables of users are made in memory: on a disk they take three times as long.
    "mariadb": Server(
        "mariadbd", 3306, f"""$mariadbd {MARIADB_DATA} --init-file={{0}}/users
          --socket={{0}}/socket --pid-file={{0}}/pid --bind-address=* --port=3306 --connect-timeout=600""",
        f"""mariadb-install-db {MARIADB_DATA} --auth-root-authentication-method=normal --skip-test-db""",
        {"users": """
          create user app@127.0.0.6, app@0.0.0.6, direct@'10.244.7.1', direct@'fd00:244:7::1';
          grant all on *.* to app@127.0.0.6, app@0.0.0.6;
        """}),
    # In Debian redis-check-rdb is redis-server by another name.
    "redis": Server(
        "redis-check-rdb", 6379,
        "{0}/redis-server --port 6379 --bind * -::* --save '' --protected-mode no --dir {0}",
        "ln -s $redis_check_rdb {0}/redis-server"),
    "nginx": Server(
        "nginx", 8080, "$nginx -e stderr -c {0}/conf", "mkdir {0}/files", {"conf": """
          daemon off; pid {0}/pid; worker_processes 1;
          events {{ worker_connections 256; }}
          http {{
            access_log off; client_max_body_size 64m;
            client_body_temp_path {0}/1; proxy_temp_path {0}/2; fastcgi_temp_path {0}/3;
            uwsgi_temp_path {0}/4; scgi_temp_path {0}/5;
            server {{
              listen 8080; listen [::]:8080; listen 8081 http2; listen [::]:8081 http2;
              root {0}/files; dav_methods PUT;
            }}
          }}"""}),
    "mosquitto": Server(
        "mosquitto", 1883, "$mosquitto -c {0}/conf", files={"conf": "listener 1883\nallow_anonymous true\n"}),
    "rsync": Server(
        "rsync", 8730, "$rsync --daemon --no-detach --config={0}/conf", "mkdir {0}/files", {"conf": """
          port = 8730
          use chroot = no
          [files]
            path = {0}/files
            read only = no
        """}),
    # Not by `git daemon`, which would leave it behind when killed.
    "git": Server(
        "git-daemon", 9418, "$git_daemon --export-all --enable=receive-pack --base-path={0} --reuseaddr",
        "git init -q --bare {0}/repository"),
    # Port 53 is for what the rules capture as DNS.
    "dns": Server("dnsmasq", 5353, DNSMASQ.format(port=5353), uid=0),
    "resolver": Server("dnsmasq", 53, DNSMASQ.format(port=53), uid=0),
    "grpc": Server("python3", 50051, "$python3 {0}/../peers.py serve grpc [::]:50051"),
    "websocket": Server("python3", 8765, "$python3 {0}/../peers.py serve websocket :8765"),
}

SSH = ("-F none -i $server/ssh/key -o BatchMode=yes -o StrictHostKeyChecking=no -o LogLevel=ERROR "
       "-o UserKnownHostsFile=/dev/null")
PSQL = "$psql -X -q -v ON_ERROR_STOP=1 -h $host -U app postgres"
MARIADB = "mariadb --no-defaults --batch --skip-column-names -h $host --protocol=tcp"
CURL = "curl -sS --fail --noproxy * "


@dataclasses.dataclass
class Case:
    """What a client does, once for each family. $host is the server, also as $url in URLs; $family is 4
    or 6, $blob and $rows are files to transfer, and the directory is empty."""
    server: str
    port: int
    connections: int  # that the access logs must have, at least
    blobs: float  # how much of $blob they have carried
    script: str


CASES = {
    "ssh": Case("ssh", 2222, 1, 2, f"""
      ssh {SSH} -p 2222 app@$host cat <$blob >out
      cmp $blob out"""),
    "scp": Case("ssh", 2222, 2, 2, f"""
      scp -q {SSH} -P 2222 $blob app@$url:up$family
      scp -q -O {SSH} -P 2222 app@$url:up$family out
      cmp $blob out"""),
    "sftp": Case("ssh", 2222, 1, 2, f"""
      printf 'put %s sftp%s\\nget sftp%s out\\n' $blob $family $family | sftp -q -b - {SSH} -P 2222 app@$url:.
      cmp $blob out"""),
    "postgresql": Case("postgresql", 5432, 2, 0, f"""
      {PSQL} -c "create table t$family (i int, t text)" -c "\\copy t$family from '$rows'"
      {PSQL} -c "\\copy (select * from t$family order by i) to 'out'"
      cmp $rows out"""),
    # Grants are to the address that the server sees, whatever the client's is.
    "mariadb": Case("mariadb", 3306, 4, 0, f"""
      case $family in 4) seen=127.0.0.6;; 6) seen=0.0.0.6;; esac
      test "$({MARIADB} -e 'select current_user()')" = app@$seen
      ! {MARIADB} -u direct -e 'select 1' 2>denied
      grep -F "Access denied for user 'direct'@'$seen'" denied
      {MARIADB} --local-infile=1 -e "create database d$family; use d$family;
        create table t (i int primary key, t text); load data local infile '$rows' into table t"
      {MARIADB} --quick -e 'select * from t order by i' d$family >out
      cmp $rows out"""),
    "redis": Case("redis", 6379, 3, 2, """
      test "$(redis-cli -h $host -x set blob$family <$blob)" = OK
      redis-cli -h $host get blob$family | head -c -1 >out
      cmp $blob out
      seq 2000 | sed 's/.*/rpush list'$family' &/' | redis-cli -h $host --pipe
      test "$(redis-cli -h $host llen list$family)" = 2000"""),
    "http1": Case("nginx", 8080, 2, 3, f"""
      {CURL} -T $blob http://$url:8080/up$family
      place=http://$url:8080/up$family
      new=$({CURL} -w '%{{num_connects}}' -o out $place -o again $place)
      test "$new" = 10  # one, and no other for the second file
      cmp $blob out
      cmp $blob again"""),
    "h2": Case("nginx", 8081, 3, 2, f"""
      {CURL} --http2-prior-knowledge -T $blob http://$url:8081/h2$family
      {CURL} --http2-prior-knowledge -o out http://$url:8081/h2$family
      cmp $blob out
      head -c 5000 $blob >small
      {CURL} --http2-prior-knowledge -T small http://$url:8081/small$family
      h2load -n 200 -c 2 -m 10 http://$url:8081/small$family | grep ' 200 succeeded, 0 failed'"""),
    "mosquitto": Case("mosquitto", 1883, 2, 2, """
      mosquitto_pub -h $host -q 1 -r -t blob/$family -f $blob
      mosquitto_sub -h $host -q 1 -C 1 -N -t blob/$family >out
      cmp $blob out"""),
    "rsync": Case("rsync", 8730, 3, 2, """
      rsync $blob rsync://$url:8730/files/up$family
      (cat $blob; echo more) >longer
      rsync longer rsync://$url:8730/files/up$family
      rsync rsync://$url:8730/files/up$family out
      cmp longer out"""),
    "git": Case("git", 9418, 3, 2, """
      git clone -q git://$url:9418/repository mine 2>&1
      cp $blob mine/blob
      git -C mine checkout -q -b of$family
      git -C mine add blob
      git -C mine -c user.name=me -c user.email=me commit -q -m "by family $family"
      git -C mine push -q origin of$family
      git clone -q -b of$family git://$url:9418/repository theirs
      cmp $blob theirs/blob"""),
    "dns": Case("dns", 5353, 3, 0, f"""
      ask() {{ dig +short +tcp +time=60 -p 5353 @$host "$@"; }}
      test "$(ask big.test TXT)" = '{TEXT_RECORD}'
      test "$(ask four.test A)" = 192.0.2.4
      test "$(ask +keepopen six.test AAAA six.test AAAA | uniq)" = 2001:db8::6"""),
    # Nobody is at the address that is asked: the answer comes by the rules and the proxy's forwarder, which
    # asks again what was lost, as getent does. There are so many names, others for each family, that some are
    # lost on a bad link.
    "captured-dns": Case("resolver", 53, 0, 0, f"""
      for how in notcp tcp; do
        ask() {{ dig +short +$how +time=30 +tries=4 @$nobody "$@"; }}
        test "$(ask big.test TXT)" = '{TEXT_RECORD}'
        test "$(ask four.test A)" = 192.0.2.4
      done
      seq $((family * 30)) $((family * 30 + 59)) | sed s/^/192.0.2./ >wanted
      sed 's/[.]/-/g; s/.*/n&.many.test/' wanted |
        xargs -n 15 -P 4 dig +short +time=30 +tries=4 @$nobody | sort -V | cmp - wanted
      test "$(getent ahostsv4 four.test | cut -d ' ' -f 1 | uniq)" = 192.0.2.4
      test "$(getent ahostsv6 six.test | cut -d ' ' -f 1 | uniq)" = 2001:db8::6"""),
    "grpc": Case("grpc", 50051, 1, 2,
                 "echo done | python3 $server/peers.py talk grpc $url:50051 $blob"),
    "websocket": Case("websocket", 8765, 1, 2,
                      "echo done | python3 $server/peers.py talk websocket $url:8765 $blob"),
}

# Connections that say something in the beginning and in the end, and nothing for all the time between:
# the command, and the line that makes it print a word.
SILENT = {
    "ssh": (2222, f"exec ssh {SSH} -p 2222 app@$host cat", "{}"),
    "postgresql": (5432, f"exec {PSQL} -At", "select '{}';"),
    "mariadb": (3306, f"exec {MARIADB} --unbuffered", "select '{}';"),
    "redis": (6379, "exec redis-cli -h $host", "echo {}"),
    # The server speaks, when somebody else has published something.
    "mosquitto": (1883, """
      mosquitto_sub -h $host -t silent/$family -C 2 &
      while read -r line; do mosquitto_pub -h $host -r -t silent/$family -m "$line"; done
      wait""", "{}"),
    "grpc": (50051, "exec python3 $server/peers.py talk grpc $url:50051", "{}"),
    "websocket": (8765, "exec python3 $server/peers.py talk websocket $url:8765", "{}"),
}
CLIENTS = ["ssh", "scp", "sftp", "psql", "mariadb", "redis-cli", "curl", "h2load", "mosquitto_pub",
           "mosquitto_sub", "rsync", "git", "dig", "initdb", "mariadb-install-db"]


class Matrix:
    """The pods with what runs in them."""

    def __init__(self, programs, packages, work, link, names):
        self.work, self.packages, self.link = work, packages, link
        self.cases = {name: case for name, case in CASES.items() if not names or name in names}
        wanted = {case.server for case in self.cases.values()}
        self.servers = {name: server for name, server in SERVERS.items() if name in wanted}
        self.silent = {} if link else {name: row for name, row in SILENT.items() if name in wanted}
        # The users of the pods may have no access to the clone.
        shutil.copy(programs / "sluice-proxy", work)
        size, rows = (1 << 20, 8000) if link is None else (256 << 10, 2000)
        (work / "blob").write_bytes(random.Random(1).randbytes(size))
        (work / "rows").write_text("".join(
            f"{row}\t{hashlib.sha256(b'%d' % row).hexdigest()}\n" for row in range(rows)))
        self.pods = []
        for number, name in enumerate(("client", "server"), 1):
            self.pods.append(Pod(name, number, work, packages))
        self.client, self.server = self.pods
        shutil.copy(HERE / "peers.py", self.server.work)
        connect(self.pods, link)
        timeout = ["--connect-timeout", f"{CONNECT_TIMEOUT}s" if link is None else "2m"]
        self.client.capture(programs, ["--redirect-dns", "--capture-all-dns"],
                            ["--dns-port", "15053", *timeout])
        self.server.capture(programs, [], timeout)

    def path(self, pod, program):
        """A variable with a program's path."""
        path = find_program(program, self.packages)
        # Of the clone, users in a pod may see nothing but its packages.
        path = path.replace(str(self.packages), str(pod.work / "packages"))
        return f"{program.replace('-', '_')}={path}"

    def prepare(self, name):
        """What a server's command is, when all is there that it needs."""
        server, folder = self.servers[name], self.server.work / name
        folder.mkdir()
        for file, text in server.files.items():
            (folder / file).write_text(text.format(folder))
        for path in (folder, *folder.iterdir()):
            os.chown(path, server.uid, server.uid)
        paths = (self.path(self.server, program) for program in (server.program, "initdb"))
        run = ["env", *paths, "sh", "-efc"]
        self.server.run([*run, server.prepare.format(folder)], server.uid)
        return [*run, "exec " + " ".join(server.command.format(folder).split())], server.uid

    def start_servers(self, pool):
        started = []
        for name, (command, uid) in zip(self.servers, pool.map(self.prepare, self.servers)):
            started.append((self.server.start(name, command, uid), self.servers[name].ready))
        for process, ready in started:
            self.server.wait_until_ready(process, ready)

    def words(self, name, family, script):
        """The command of a script in an empty directory, for one of the server's addresses."""
        folder = self.client.work / f"{name}{family}"
        folder.mkdir()
        os.chown(folder, APPLICATION_UID, APPLICATION_UID)
        host = self.server.addresses[family == 6]
        names = {"host": host, "url": host if family == 4 else f"[{host}]", "family": family,
                 "nobody": "192.0.2.53" if family == 4 else "2001:db8::53",
                 "blob": self.work / "blob", "rows": self.work / "rows", "server": self.server.work}
        return ["env", *(f"{name}={value}" for name, value in names.items()), self.path(self.client, "psql"),
                "sh", "-efc", f"cd {folder}\n{script}"]

    def run_case(self, name, family):
        began = time.monotonic()
        self.client.run(self.words(name, family, self.cases[name].script))
        print(f"{name} over IPv{family}: {time.monotonic() - began:.1f} s", flush=True)

    def say(self, process, name, word):
        process.stdin.write(SILENT[name][2].format(word).encode() + b"\n")
        process.stdin.flush()

        def answered():
            if process.poll() not in (None, 0):
                raise Failed(f"{process.name} ended:\n{self.client.output(process.name)}")
            return word in self.client.output(process.name).split()
        wait_for(lambda: f"{process.name} says {word}:\n{self.client.output(process.name)}", answered)

    def run(self):
        began = time.monotonic()
        both = [(name, family) for name in self.cases for family in (4, 6)]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            self.start_servers(pool)
            print(f"servers are ready: {time.monotonic() - began:.1f} s", flush=True)
            silent = []
            for name, (_, script, _) in self.silent.items():
                for family in (4, 6):
                    words = self.words(f"silent-{name}", family, script)
                    process = self.client.start(f"silent-{name}{family}", words, stdin=subprocess.PIPE)
                    silent.append((process, name))
            for process, name in silent:
                self.say(process, name, "first")
            quiet = time.monotonic()
            for _ in pool.map(lambda one: self.run_case(*one), both):
                pass
        if silent:
            # Not to wait for something: it is what is tested, and has passed already, as a rule.
            time.sleep(max(0, quiet + 1.2 * CONNECT_TIMEOUT - time.monotonic()))
        for process, name in silent:
            self.say(process, name, "last")
            process.stdin.close()
            if process.wait(PATIENCE) != 0:
                raise Failed(f"{process.name} ended badly:\n{self.client.output(process.name)}")
        self.check_access_logs()
        if self.link:
            segments, queries = sum(pod.sent_again() for pod in self.pods), self.client.asked_again()
            print(f"sent again: {segments} segments, {queries} DNS queries")
            if segments + queries == 0:
                raise Failed("the link has lost nothing")
        for pod in self.pods:
            pod.end_proxy()
        print(f"all: {time.monotonic() - began:.1f} s", flush=True)

    def check_access_logs(self):
        """Both proxies had each connection, and all that was transferred."""
        wanted, carried = collections.Counter(), collections.Counter()
        blob = (self.work / "blob").stat().st_size
        for case in self.cases.values():
            wanted[case.port] += case.connections
            carried[case.port] += case.blobs * blob
            if "$rows" in case.script:
                carried[case.port] += 2 * (self.work / "rows").stat().st_size
        for name in self.silent:
            wanted[SILENT[name][0]] += 1
        clusters = ((self.client, "PassthroughCluster"), (self.server, "InboundPassthroughCluster"))

        def counts():
            """Connections by address and port, of both."""
            both = []
            for pod, cluster in clusters:
                both.append(collections.Counter(line["downstream_local_address"] for line in pod.access_log()
                                                if line["upstream_cluster"] == cluster))
            return both

        places = {(f"{host}:{port}" if "." in host else f"[{host}]:{port}"): port
                  for host in self.server.addresses for port in wanted}
        # A line is written when the connection is over.
        wait_for(lambda: f"the access logs have all connections: {counts()}, at least {wanted}",
                 lambda: (both := counts()) and all(
                     both[0][place] == both[1][place] >= wanted[port] for place, port in places.items()
                     if port != 53))
        for pod, cluster in clusters:
            lines = pod.access_log()
            for line in lines:
                if line["response_flags"] != "-":
                    raise Failed(f"{pod.name}: a connection that went wrong: {line}")
            for place, port in places.items():
                size = sum(line["bytes_received"] + line["bytes_sent"] for line in lines
                           if line["downstream_local_address"] == place)
                if size < carried[port]:
                    raise Failed(f"{pod.name}: {cluster} {place}: {size} bytes of {carried[port]}")


def missing(packages):
    programs = CLIENTS + [server.program for server in SERVERS.values()]
    names = [name for name in programs if not find_program(name, packages)]
    for module in ("grpc", "websockets"):
        try:
            __import__(module)
        except ImportError:
            names.append(f"the module {module} of Python")
    return names


def skip(reason):
    print(f"skipped: {reason}")
    return 1 if os.environ.get("CI") == "true" else SKIPPED


def main():
    programs, packages, *rest = sys.argv[1:]
    programs, packages = pathlib.Path(programs).resolve(), pathlib.Path(packages).resolve()
    if os.geteuid() != 0:
        return skip("needs root, for network namespaces")
    if lacks := missing(packages):
        return skip(f"these are missing (scripts/packages): {', '.join(lacks)}")
    link = None
    if rest.pop(0) == "bad":
        seed = rest.pop(0) if rest and rest[0].isdigit() else str(random.randrange(1 << 32))
        print(f"the link's seed: {seed}", flush=True)
        link = [HERE / "bad_link.py", seed]
    # Cleans up also when it is to end early.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    matrix = None
    work = pathlib.Path(tempfile.mkdtemp(prefix="sluice-software."))
    work.chmod(0o755)
    try:
        matrix = Matrix(programs, packages, work, link, rest)
        matrix.run()
    except Failed as failure:
        print(failure)
        for pod in matrix.pods if matrix else []:
            ended = [f"{one.name} ({one.returncode})" for one in pod.processes if one.poll() is not None]
            print(f"== {pod.name}: ended: {', '.join(ended)}; access log, and what the proxy says\n"
                  f"{(pod.work / 'access.log').read_text()[-20000:]}\n{pod.output('sluice-proxy')[-5000:]}")
        return 1
    finally:
        for pod in matrix.pods if matrix else []:
            pod.stop()
        end_children()
        shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
