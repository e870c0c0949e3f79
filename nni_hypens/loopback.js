// Preloaded into NNI's manager (NODE_OPTIONS=--require).
//
// NNI 3.0 listens on every interface, has no password, checks neither Host nor Origin, and serves any file that its user
// can read; no option changes that. So this script
// - binds servers that name no host to the loopback address,
// - refuses requests of web pages of other origins (Origin, Sec-Fetch-Site) and of names that are not this machine's
//   (Host: DNS rebinding, as in Ray's CVE-2025-62593),
// - refuses paths with `..` and the proxy to netron.app, which ends the manager where there is no internet,
// - refuses connections of other users of this machine: their uid is in /proc/net/tcp.
// Tunnels (`ssh -L 9000:localhost:8080`) keep working: any port is fine in Host as long as Origin agrees with it.
//
// NNI_HYPENS_MANAGER_HOST is set where a remote training service must reach the manager: servers then stay on all
// interfaces, and requests may name that host or any IP address. Can go when NNI has a password and an address option.
'use strict';
const fs = require('fs');
const http = require('http');
const net = require('net');

const publicHost = process.env.NNI_HYPENS_MANAGER_HOST || '';

const listen = net.Server.prototype.listen;
if (!publicHost) {
  net.Server.prototype.listen = function (...args) {
    const first = args[0];
    if (first !== null && typeof first === 'object' && 'port' in first && !first.host) {
      args[0] = { ...first, host: '127.0.0.1' };
    } else if ((typeof first === 'number' || (typeof first === 'string' && /^\d+$/.test(first))) && typeof args[1] !== 'string') {
      args.splice(1, 0, '127.0.0.1');
    }
    return listen.apply(this, args);
  };
}

// ---- whose socket is it? ---------------------------------------------------------------------------------------

const isLoopback = (address) => /^(::ffff:)?127\./.test(address || '') || address === '::1';

// An address as /proc/net/tcp and tcp6 write it: four-byte words in hexadecimal, each in the byte order of this machine.
function procAddresses(address, port) {
  const end = ':' + port.toString(16).toUpperCase().padStart(4, '0');
  const word = (bytes) => Buffer.from(bytes).reverse().toString('hex').toUpperCase();
  if (address === '::1') return [word([0, 0, 0, 0]).repeat(3) + word([0, 0, 0, 1]) + end];
  const four = word(address.replace('::ffff:', '').split('.').map(Number));
  return [four + end, word([0, 0, 0, 0]).repeat(2) + word([0, 0, 0xff, 0xff]) + four + end];
}

function peerUid(socket) {
  const ours = procAddresses(socket.localAddress, socket.localPort);
  const theirs = procAddresses(socket.remoteAddress, socket.remotePort);
  for (const table of ['/proc/net/tcp', '/proc/net/tcp6']) {
    let rows = [];
    try { rows = fs.readFileSync(table, 'latin1').split('\n').slice(1); } catch { /* a kernel without IPv6 */ }
    for (const row of rows) {
      const fields = row.trim().split(/\s+/);
      if (theirs.includes(fields[1]) && ours.includes(fields[2])) return Number(fields[7]);
    }
  }
  return null;
}

function connectionFault(socket) {
  if (!isLoopback(socket.remoteAddress)) return publicHost ? null : 'a connection from another machine';
  const uid = peerUid(socket);
  if (uid === process.getuid() || uid === 0) return null;
  return uid === null ? 'a connection whose owner is unknown' : `a connection of another user (uid ${uid})`;
}

// ---- what does it ask for? -------------------------------------------------------------------------------------

function hostFault(host) {
  const name = (host || '').toLowerCase().replace(/:\d+$/, '');
  if (name === 'localhost' || name === '[::1]' || /^127(\.\d{1,3}){3}$/.test(name)) return null;
  if (publicHost && (name === publicHost.toLowerCase() || net.isIP(name.replace(/^\[|\]$/g, '')))) return null;
  return `the host name ${JSON.stringify(name.slice(0, 80))}, which is not this machine`;
}

function pathFault(url) {
  let path = String(url).split('?')[0];
  for (let round = 0; round < 3; round++) {
    try { path = decodeURIComponent(path); } catch { return 'a path that cannot be decoded'; }
  }
  if (path.includes('\0') || path.split(/[\\/]/).includes('..')) return 'a path that leads out of its folder';
  if (/^\/+netron(\/|$)/i.test(path)) return 'the proxy to netron.app';
  return null;
}

function originFault(request) {
  const { origin, host } = request.headers;
  if (origin !== undefined && origin.toLowerCase() !== `http://${(host || '').toLowerCase()}`) {
    return `a page of ${JSON.stringify(origin.slice(0, 80))}`;
  }
  const site = request.headers['sec-fetch-site'];
  if (site === undefined || site === 'same-origin' || site === 'none') return null;
  // a link to the web UI may be clicked anywhere: the page that has the link cannot read what opens
  const opensUi = request.method === 'GET' && request.headers['sec-fetch-mode'] === 'navigate' &&
    request.headers['sec-fetch-dest'] === 'document' && !/^\/+(api|logs)(\/|$)/i.test(request.url);
  return opensUi ? null : 'a page of another site';
}

function fault(request) {
  return request.socket.nniHypensFault || hostFault(request.headers.host) || pathFault(request.url) || originFault(request);
}

const emit = http.Server.prototype.emit;
http.Server.prototype.emit = function (event, ...args) {
  if (event === 'connection') args[0].nniHypensFault = connectionFault(args[0]);
  const asks = event === 'request' || event === 'checkContinue' || event === 'checkExpectation' || event === 'upgrade';
  const reason = asks ? fault(args[0]) : null;
  if (reason === null) return emit.call(this, event, ...args);
  const body = `refused: ${reason}\n`;
  if (event === 'upgrade') {
    args[1].on('error', () => {});  // a peer that is gone before it has read the answer must not end the manager
    args[1].end(`HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  } else {
    args[1].writeHead(403, { 'Content-Type': 'text/plain', Connection: 'close' });
    args[1].end(body);
  }
  return true;
};
