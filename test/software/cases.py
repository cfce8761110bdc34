# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""The rows of the matrix: servers, what clients do with them, and connections that are silent."""
import dataclasses
import hashlib

from pods import APPLICATION_UID

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
