#!/usr/bin/env python3
"""Measures the servers in servers/*. See README.md. Appends one JSON line a measurement to out/results.jsonl."""
import argparse, json, os, signal, socket, struct, subprocess, sys, time, glob, random
HERE = os.path.dirname(os.path.abspath(__file__))
T = f'{HERE}/tools/target/release'
ADDR, PORT, BASEPORT = '127.0.0.1', 5400, 5399
UP_IP, UP_PORT = '127.0.0.53', 5310
Q = f'{HERE}/queries'
OUT = f'{HERE}/out'
WORK = os.environ.get('BENCH_WORK', f'{HERE}/work')
COUNT = f'{OUT}/upstream.count'
HZ = os.sysconf('SC_CLK_TCK')
ap = argparse.ArgumentParser()
ap.add_argument('servers', nargs='*')
ap.add_argument('--reps', type=int, default=5)
ap.add_argument('--starts', type=int, default=3, help='starts with the city list')
ap.add_argument('--huge-starts', type=int, default=1)
ap.add_argument('--only', default='', help='comma list of: start,check,cpu,latency,burst,dnsperf,free,huge')
ap.add_argument('--secs', type=float, default=1.0, help='length aimed at for one cpu run')
ap.add_argument('--start-limit', type=float, default=420)
ap.add_argument('--rate', type=int, default=5000)
ap.add_argument('--fifo', action='store_true', help='server, client and upstream under SCHED_FIFO: for latencies on a machine that others use too')
A = ap.parse_args()
ONLY = set(filter(None, A.only.split(',')))
def want(x): return not ONLY or x in ONLY
RUN = os.environ.get('RUN') or time.strftime('%Y-%m-%dT%H:%M:%S')
def say(*a): print(*a, file=sys.stderr, flush=True)
def put(**k):
    k['run'] = RUN; k['t'] = time.strftime('%H:%M:%S')
    open(f'{OUT}/results.jsonl', 'a').write(json.dumps(k) + '\n')
    say(' ', {x: y for x, y in k.items() if x not in ('run', 't', 'server', 'raw', 'client_cpu', 'stray')})
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends through the `finally`s: nothing is left running
def pin(cores):
    def f():
        if cores: os.sched_setaffinity(0, cores)
        if A.fifo: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    return f
# ---------------------------------------------------------------- processes
def tree(sid):
    r = []
    for p in os.listdir('/proc'):
        if p.isdigit():
            try: f = open(f'/proc/{p}/stat').read().rsplit(')', 1)[1].split()
            except OSError: continue
            if int(f[3]) == sid: r.append(int(p))
    return r
def cpu(sid):
    """(ns by the scheduler over all threads, user ticks, system ticks)"""
    n = u = s = 0
    for p in tree(sid):
        try:
            f = open(f'/proc/{p}/stat').read().rsplit(')', 1)[1].split()
            u += int(f[11]); s += int(f[12])
            for t in os.listdir(f'/proc/{p}/task'):
                try: n += int(open(f'/proc/{p}/task/{t}/schedstat').read().split()[0])
                except OSError: pass
        except OSError: pass
    return n, u, s
def mem(sid):
    rss = hwm = pss = 0
    for p in tree(sid):
        try:
            for l in open(f'/proc/{p}/status'):
                if l.startswith('VmRSS'): rss += int(l.split()[1])
                if l.startswith('VmHWM'): hwm += int(l.split()[1])
            for l in open(f'/proc/{p}/smaps_rollup'):
                if l.startswith('Pss:'): pss += int(l.split()[1])
        except OSError: pass
    return rss / 1024, pss / 1024, hwm / 1024
def forwarded(): return struct.unpack('<Q', open(COUNT, 'rb').read(8))[0]
def info(name):
    d = {'kind': 'peer', 'blocks': 'yes', 'maxthreads': '99', 'huge': 'yes'}
    try:
        for l in open(f'{HERE}/servers/{name}/info'):
            if '=' in l: k, v = l.strip().split('=', 1); d[k] = v
    except OSError: pass
    return d
# ---------------------------------------------------------------- queries
def ask(s, name, t=1):
    i = random.randrange(65536)
    q = struct.pack('>HHHHHH', i, 0x100, 1, 0, 0, 0) + b''.join(bytes([len(l)]) + l.encode() for l in name.split('.')) + b'\0' + struct.pack('>HH', t, 1)
    s.send(q)
    while True:
        r = s.recv(4096)
        if r[:2] == q[:2]: break
    rc, an = r[3] & 15, struct.unpack('>H', r[6:8])[0]
    o = 12
    while r[o]: o += 1 + r[o]
    o += 5
    zero = good = False
    if an:
        while r[o] and r[o] & 0xc0 != 0xc0: o += 1 + r[o]
        o += 2 if r[o] & 0xc0 == 0xc0 else 1
        ty, _, _, ln = struct.unpack('>HHIH', r[o:o + 10])
        d = r[o + 10:o + 10 + ln]
        zero = not any(d); good = ty == t and not zero
    if rc == 3 or zero: return 'blocked'
    if rc == 0 and good: return 'allowed'
    return f'rcode{rc}/{an}'
def sock(timeout):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(timeout); s.connect((ADDR, PORT)); return s
def last_blocked(lst):
    with open(lst, 'rb') as f:
        f.seek(-400, 2); return f.read().split()[-1].decode()
class Server:
    def __init__(s, name, lst, threads, cores):
        s.name, s.lst, s.info = name, f'{HERE}/lists/{lst}.txt', info(name)
        s.d = f'{WORK}/{name}-{lst}'; os.makedirs(s.d, exist_ok=True)
        s.env = dict(os.environ, LIST=s.lst, D=s.d, ADDR=ADDR, PORT=str(PORT), UP_IP=UP_IP, UP_PORT=str(UP_PORT), THREADS=str(threads))
        c = f'{HERE}/servers/{name}/conf'
        if os.path.exists(c): subprocess.run([c], env=s.env, check=True)
        last = last_blocked(s.lst)
        t0 = time.time()
        s.p = subprocess.Popen([f'{HERE}/servers/{name}/start'], env=s.env, start_new_session=True, preexec_fn=pin(cores), stdout=subprocess.DEVNULL, stderr=open(f'{s.d}/stderr.log', 'w'))
        s.ready = None; err = ''
        while time.time() - t0 < A.start_limit:
            if s.p.poll() is not None: err = f'exited {s.p.returncode}'; break
            try:
                k = sock(.05)
                if s.info['blocks'] == 'no' or ask(k, 'zz.' + last) == 'blocked':
                    if ask(k, f'r{random.randrange(10**9)}.startup-probe.org') == 'allowed':
                        s.ready = time.time() - t0; break
            except OSError: pass
            time.sleep(.005)
        s.cpu_start = cpu(s.p.pid)[0] / 1e9
        s.err = err or (None if s.ready else f'not ready in {A.start_limit:.0f} s')
        if s.ready is None: s.stop()
    def stop(s):
        st = f'{HERE}/servers/{s.name}/stop'
        if os.path.exists(st): subprocess.run([st], env=dict(s.env, PID=str(s.p.pid)))
        for sig in (signal.SIGTERM, signal.SIGKILL):
            for p in tree(s.p.pid):
                try: os.kill(p, sig)
                except OSError: pass
            for _ in range(100 if sig == signal.SIGTERM else 500):
                s.p.poll()
                if not tree(s.p.pid): return
                time.sleep(.05)
def blast(file, port=PORT, cores={1}, **k):
    c = [f'{T}/blast', '--server', f'{ADDR}:{port}', '--file', f'{Q}/{file}']
    for a, b in k.items(): c += [f'--{a}', str(b)] if b is not True else [f'--{a}', '1']
    return json.loads(subprocess.run(c, preexec_fn=pin(cores), capture_output=True, text=True, check=True).stdout)
def measured(sid, f):
    a, fw = cpu(sid), forwarded()
    r = f()
    time.sleep(.05)
    b = cpu(sid)
    n = max(1, r['answered'])
    r['cpu_us'] = (b[0] - a[0]) / 1e3 / n
    du, ds = b[1] - a[1], b[2] - a[2]
    r['sys_share'] = ds / max(1, du + ds)
    r['stat_us'] = (du + ds) * 1e6 / HZ / n
    r['forwarded'] = forwarded() - fw
    return r
def baseline(cores={1}):
    return measured(base.pid, lambda: blast('mix-public.txt', port=BASEPORT, cores=cores, count=300000, window=256))
used = {}
SIZE = {'miss.txt': 1_000_000, 'blocked-only.txt': 600_000}
def fresh(f, n):
    """blast's arguments for n queries that this server has not seen (miss, blocked-only); {} for the files to repeat"""
    if f not in SIZE: return {}
    if used.get(f, 0) + n > SIZE[f]: used[f] = 0
    used[f] = used.get(f, 0) + n
    return {'skip': used[f] - n, 'once': True}
def dnsperf(file, secs, cores):
    o = subprocess.run(['dnsperf', '-s', ADDR, '-p', str(PORT), '-d', f'{Q}/{file}', '-c', '16', '-T', '1', '-q', '256', '-l', str(secs), '-t', '2'], preexec_fn=pin(cores), capture_output=True, text=True).stdout
    g = lambda k: float(next(l for l in o.split('\n') if k in l).split(':')[1].split()[0])
    return {'qps': g('Queries per second'), 'answered': int(g('Queries completed')), 'lost': int(g('Queries lost'))}
def check(name, lst):
    k = sock(2); res = {}; wrong = []
    for l in open(f'{Q}/check.txt'):
        n, want_, kind = l.split()
        try: v = ask(k, n)
        except OSError: v = 'timeout'; k = sock(2)
        res.setdefault(kind, [0, 0]); res[kind][1] += 1
        if v == want_: res[kind][0] += 1
        else: wrong.append(f'{n} {want_} {v} {kind}')
    put(server=name, list=lst, what='check', ok=sum(a for a, _ in res.values()), of=sum(b for _, b in res.values()), kinds=res, wrong=wrong[:8])
def main():
    global base
    os.makedirs(OUT, exist_ok=True)
    open(COUNT, 'ab').close()
    names = A.servers or sorted(os.path.basename(d) for d in glob.glob(f'{HERE}/servers/*'))
    helpers = []
    up = subprocess.Popen([f'{T}/upstream', '--addr', f'{UP_IP}:{UP_PORT}', '--threads', '1', '--count', COUNT], start_new_session=True, preexec_fn=pin({1}))
    base = subprocess.Popen([f'{T}/echo_plain', '--addr', f'{ADDR}:{BASEPORT}'], start_new_session=True, preexec_fn=pin({0}))
    helpers = [up, base]
    time.sleep(.3)
    try:
        for name in names: one(name)
    finally:
        for p in helpers: p.kill(); p.wait()
def one(name):
    inf = info(name); used.clear(); say(f'== {name}'); blocks = inf['blocks'] == 'yes'
    srv = None
    if any(map(want, ('start', 'check', 'cpu', 'latency', 'burst', 'dnsperf'))):
        for i in range(A.starts if want('start') and blocks else 1):
            if srv: srv.stop()
            srv = Server(name, 'city', 1, {0})
            if srv.ready is None: put(server=name, list='city', what='start', error=srv.err); return
            time.sleep(1)
            r = mem(srv.p.pid)
            put(server=name, list='city', what='start', ready=srv.ready, cpu=srv.cpu_start, rss=r[0], pss=r[1], peak=r[2])
        try:
            sid = srv.p.pid
            if want('check') and blocks: check(name, 'city')
            files = ['mix-public.txt', 'blocked-only.txt', 'cached-allowed.txt', 'miss.txt']
            if want('cpu'):
                for f in files:
                    if f != 'blocked-only.txt' and f != 'miss.txt': blast('warm.txt', count=27643, window=128); 
                    r = blast(f, count=20000, window=256, **fresh(f, 20000))
                    n = int(min(600000, max(20000, r['qps'] * A.secs)))
                    if f in SIZE: n = min(100000, n)
                    for i in range(A.reps):
                        b = baseline()
                        k = fresh(f, n)
                        r = measured(sid, lambda: blast(f, count=n, window=256, **k))
                        put(server=name, list='city', what='cpu', file=f, rep=i, base_us=b['cpu_us'], base_qps=b['qps'], **r)
            if want('latency'):
                blast('warm.txt', count=27643, window=128)
                for f in ('mix-public.txt', 'miss.txt'):
                    for i in range(A.reps):
                        k = dict(fresh(f, A.rate * 3), count=A.rate * 3) if f == 'miss.txt' else {'secs': 3}
                        b = measured(base.pid, lambda: blast('mix-public.txt', port=BASEPORT, rate=A.rate, secs=1))
                        r = measured(sid, lambda: blast(f, rate=A.rate, **k))
                        put(server=name, list='city', what='latency', file=f, rep=i, base_p50=b['p50'], base_p99=b['p99'], base_us=b['cpu_us'], **r)
            if want('burst'):
                # As many at once as a socket's buffer holds, and twice that: what is lost, the kernel or the server lost. The echo before
                # and after each, so that what else the machine does at that moment is seen in both.
                blast('warm.txt', count=27643, window=128)
                for window in (512, 1024, 2048):
                    for i in range(A.reps):
                        few = dict(count=window * 8, window=window, **{'timeout-ms': 500})
                        b = [blast('mix-public.txt', port=BASEPORT, **few)]
                        r = blast('mix-public.txt', **few)
                        b.append(blast('mix-public.txt', port=BASEPORT, **few))
                        put(server=name, list='city', what='burst', file=str(window), rep=i, base_lost=sum(x['lost'] for x in b) / 2, **r)
            if want('dnsperf'):
                blast('warm.txt', count=27643, window=128)
                for i in range(min(3, A.reps)):
                    r = measured(sid, lambda: dnsperf('mix-public.txt', 4, {1}))
                    put(server=name, list='city', what='dnsperf', cores='pinned', rep=i, **r)
            r = mem(sid); put(server=name, list='city', what='after', rss=r[0], pss=r[1], peak=r[2])
        finally: srv.stop()
    if want('free'):
        th = min(2, int(inf['maxthreads']))
        srv = Server(name, 'city', th, None)
        if srv.ready is None: put(server=name, list='city', what='free', error=srv.err)
        else:
            try:
                blast('warm.txt', count=27643, window=128, cores=None)
                for i in range(min(3, A.reps)):
                    r = measured(srv.p.pid, lambda: dnsperf('mix-public.txt', 4, None))
                    put(server=name, list='city', what='dnsperf', cores='free', threads=th, rep=i, **r)
                for i in range(min(3, A.reps)):
                    r = measured(srv.p.pid, lambda: blast('mix-public.txt', secs=3, window=256, cores=None))
                    put(server=name, list='city', what='blastfree', cores='free', threads=th, rep=i, **r)
            finally: srv.stop()
    if want('huge') and inf['huge'] == 'yes' and blocks:
        for i in range(A.huge_starts):
            srv = Server(name, 'huge', 1, {0})
            if srv.ready is None: put(server=name, list='huge', what='start', error=srv.err); return
            try:
                time.sleep(1); r = mem(srv.p.pid)
                put(server=name, list='huge', what='start', ready=srv.ready, cpu=srv.cpu_start, rss=r[0], pss=r[1], peak=r[2])
                if i == 0:
                    check(name, 'huge')
                    blast('warm.txt', count=27643, window=128)
                    for f in ('mix-public.txt', 'blocked-only.txt'):
                        r = blast(f, count=20000, window=256, **fresh(f, 20000))
                        n = int(min(600000, max(20000, r['qps'] * A.secs)))
                        if f in SIZE: n = min(100000, n)
                        for j in range(min(3, A.reps)):
                            b = baseline(); k = fresh(f, n)
                            r = measured(srv.p.pid, lambda: blast(f, count=n, window=256, **k))
                            put(server=name, list='huge', what='cpu', file=f, rep=j, base_us=b['cpu_us'], base_qps=b['qps'], **r)
            finally: srv.stop()
main()
