// What NGINX itself cannot say: which instance an address is, how many requests each has had, and /nginx_status,
// whose own module this build leaves out. Also keeps the log files small.
import fs from 'fs';

const MAX_LOG_BYTES = 10 * 1024 * 1024;
const CHUNK_BYTES = 64 * 1024;

function tries(list) {
    return (list || '').split(/\s*[,:]\s+/).filter((word) => word !== '' && word !== '-');
}

// Natively the entry script knows every name. In containers addresses come from the resolver, and an instance is known
// from its first answer on, because it names itself in X-Spoke-Instance: on all its ports, since its host is its own.
function nameOf(r, address) {
    const pairs = r.variables.known_names.split(' ');
    for (let i = 0; i < pairs.length; i++) {
        const at = pairs[i].indexOf('=');
        if (pairs[i].slice(0, at) === address) {
            return pairs[i].slice(at + 1);
        }
    }
    return ngx.shared.names.get(hostOf(address)) || address;
}

function hostOf(address) {
    return address.slice(0, address.lastIndexOf(':'));
}

// Evaluated when a request comes in.
function arrival(r) {
    ngx.shared.counts.incr('in_flight', 1, 0);
    ngx.shared.counts.incr('requests', 1, 0);
    if (r.variables.connection_requests === '1') {
        ngx.shared.counts.incr('connections', 1, 0);
    }
    return '1';
}

// Evaluated once a request, when it is logged: counts its tries and names the instances in their order.
function account(r) {
    if (r.variables.counted === '1') {
        ngx.shared.counts.incr('in_flight', -1, 0);
    }
    // Where no instance was left to choose, NGINX writes the name of the group, which is no address.
    const addresses = tries(r.variables.upstream_addr).filter((word) => word.includes(':'));
    const statuses = tries(r.variables.upstream_status);
    const instance = r.variables.upstream_http_x_spoke_instance;
    const last = addresses[addresses.length - 1];
    if (instance && last && ngx.shared.names.get(hostOf(last)) !== instance) {
        ngx.shared.names.set(hostOf(last), instance);
    }
    const names = addresses.map((address) => nameOf(r, address));
    names.forEach((name, i) => {
        const failed = /^50[234]$/.test(statuses[i] || '') || i < names.length - 1;
        ngx.shared.counts.incr(`upstream ${name} requests`, 1, 0);
        ngx.shared.counts.incr(`upstream ${name} failed`, failed ? 1 : 0, 0);
    });
    return names.join(', ') || '-';
}

// In the form of NGINX's own status page, followed by a line an instance. Idle connections are not counted.
// Here alone NGINX says its version: it is for whoever runs it.
function status(r) {
    r.headersOut.Server = `nginx/${r.variables.nginx_version}`;
    const counts = ngx.shared.counts;
    const busy = (counts.get('in_flight') || 0) + 1;
    const connections = (counts.get('connections') || 0) + 1;
    const lines = [
        `Active connections: ${busy}`,
        'server accepts handled requests',
        ` ${connections} ${connections} ${(counts.get('requests') || 0) + 1}`,
        `Reading: 0 Writing: ${busy} Waiting: 0`,
    ];
    counts.keys().filter((key) => /^upstream .* requests$/.test(key)).sort().forEach((key) => {
        const name = key.split(' ')[1];
        lines.push(`upstream ${name} requests ${counts.get(key)} failed ${counts.get(`upstream ${name} failed`)}`);
    });
    r.headersOut['Content-Type'] = 'text/plain';
    r.headersOut['Cache-Control'] = 'no-store';
    r.return(200, lines.join('\n') + '\n');
}

// Copies a log file that has grown too large aside and empties it. NGINX appends, so it needs no signal.
function trimLogs(session) {
    session.variables.log_files.split('|').forEach((path) => {
        if (fs.statSync(path).size < MAX_LOG_BYTES) {
            return;
        }
        const chunk = Buffer.alloc(CHUNK_BYTES);
        const from = fs.openSync(path, 'r');
        const to = fs.openSync(`${path}.1`, 'w', 0o640);
        for (let n = fs.readSync(from, chunk); n > 0; n = fs.readSync(from, chunk)) {
            fs.writeSync(to, chunk, 0, n);
        }
        fs.closeSync(from);
        fs.closeSync(to);
        fs.writeFileSync(path, '');
    });
}

export default { account, arrival, status, trimLogs };
