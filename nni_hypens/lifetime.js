// Preloaded into NNI's manager (NODE_OPTIONS=--require), after loopback.js.
//
// NNI 3.0's manager outlives the process that started it and may start a trial then; it tries to start a trial again and
// again without a pause (1,900 folders and 14 MB a second) if the working folder is gone, no process can be made or the
// disk is full; and it prints pages of errors on the terminal of its owner. So this script
// - ends the manager and its trials soon after its owner (NNI_HYPENS_OWNER, "PID:START") has ended, and starts nothing then,
// - gives up after three attempts in a row to start a trial, with a pause after each,
// - prints nothing, and leaves the cause of its end in NNI_HYPENS_LAST_WORDS, a file in the owner's memory, which can be
//   written even if the disk is full.
// Trials get the user's own NODE_OPTIONS, and NNI_HYPENS_MANAGER, the name of this process, which they follow.
// Can go when NNI's manager ends with its owner and shows why a trial cannot be started.
'use strict';
const childProcess = require('child_process');
const fs = require('fs');
const Module = require('module');
const { EventEmitter } = require('events');

const LOOK_MS = 500, RETRY_MS = 1000, ATTEMPTS = 3;
// of a stop in good order: NNI kills trials that have not ended five seconds after a request
const END_MS = 8000, REMOTE_END_MS = 30000;

const env = process.env;
const owner = env.NNI_HYPENS_OWNER || '';
const lastWords = env.NNI_HYPENS_LAST_WORDS || '';
const mode = process.argv.indexOf('--mode');
const remote = mode >= 0 && process.argv[mode + 1] !== 'local';
let ending = false;

// ---- the owner -------------------------------------------------------------------------------------------------

// State and start time of a process, as nni_hypens/utils/processes.py reads them; null if there is no such process.
function look(pid) {
  try {
    const text = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0], group: Number(fields[2]), start: fields[19] };
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ESRCH') return null;
    throw error;
  }
}

function ownerRuns() {
  const [pid, start] = owner.split(':');
  try {
    const found = look(pid);
    return found !== null && found.start === start && !'ZX'.includes(found.state);
  } catch {
    return true;  // too many open files, for example: nothing is known
  }
}

// At once, with everything in this process group: NNI's launcher makes the manager the leader of one.
function kill() {
  if (look(process.pid).group === process.pid) process.kill(-process.pid, 'SIGKILL');
  process.exit(1);
}

function end(shutdown) {
  if (ending) return;
  ending = true;
  setTimeout(kill, remote ? REMOTE_END_MS : END_MS);
  try {
    if (!shutdown()) kill();
  } catch {
    kill();
  }
}

function endWithOwner() {
  end(() => process.emit('SIGTERM'));  // true if NNI listens already
}

function say(reason) {
  try { fs.writeFileSync(lastWords, reason); } catch { /* the owner is gone */ }
}

function giveUp(reason) {
  if (!ending) say(reason);
  end(() => { global.nni.shutdown.initiate(`training service: ${reason}`); return true; });
}

// ---- starting trials -------------------------------------------------------------------------------------------

let spawnFault = null;

function explain(error, folder) {
  const gone = error.code === 'ENOENT' && folder && !fs.existsSync(folder);
  if (gone) return `the working folder ${folder} is gone`;
  if (error.code === 'EAGAIN') return `${error.message}: no further process may be started (ulimit -u, or the limit of a container)`;
  return error.message;
}

const spawn = childProcess.spawn;
childProcess.spawn = function (...args) {
  if (ending || (owner && !ownerRuns())) {
    endWithOwner();
    return Object.assign(new EventEmitter(), { kill: () => false });  // never starts, never ends
  }
  const child = spawn.apply(this, args);
  const options = args.find((each) => each !== null && typeof each === 'object' && !Array.isArray(each));
  child.on('error', (error) => { spawnFault = explain(error, options && options.cwd); });
  return child;
};

function guard(service, config) {
  const create = service.createTrial.bind(service);
  let failures = 0;
  service.createTrial = async (...args) => {
    let id = null, fault = null;
    spawnFault = null;
    try { id = await create(...args); } catch (error) { fault = explain(error); }
    if (id) {
      failures = 0;
      return id;
    }
    // without an error it waits for a GPU
    fault = fault || spawnFault || (config.trialGpuNumber ? null : 'its machine gave no reason');
    failures = fault ? failures + 1 : failures;
    if (failures >= ATTEMPTS) giveUp(`a trial cannot be started: ${fault}`);
    if (ending) return new Promise(() => {});  // or NNI would try again
    await new Promise((resolve) => { setTimeout(resolve, RETRY_MS); });
    return null;
  };
  return service;
}

const load = Module._load;
const guarded = new WeakSet();
Module._load = function (request, ...rest) {
  const loaded = load.call(this, request, ...rest);
  if (request === './factory' && loaded && loaded.trainingServiceFactoryV3 && !guarded.has(loaded)) {
    guarded.add(loaded);
    const make = loaded.trainingServiceFactoryV3;
    loaded.trainingServiceFactoryV3 = (config) => guard(make(config), config);
  }
  return loaded;
};

// ---- this process ----------------------------------------------------------------------------------------------

if (env.NNI_HYPENS_NODE_OPTIONS) env.NODE_OPTIONS = env.NNI_HYPENS_NODE_OPTIONS;
else delete env.NODE_OPTIONS;
for (const name of ['NNI_HYPENS_NODE_OPTIONS', 'NNI_HYPENS_LAST_WORDS']) delete env[name];
env.NNI_HYPENS_MANAGER = `${process.pid}:${look(process.pid).start}`;

if (owner) {
  setInterval(() => { if (!ownerRuns()) endWithOwner(); }, LOOK_MS).unref();
  process.on('SIGHUP', endWithOwner);
  process.on('uncaughtException', (error) => giveUp(`${error.message || error}`));  // also of promises
}

if (owner && /[\\/]nni_node[\\/]main\.js$/.test(process.argv[1] || '')) {
  let printed = '';
  for (const stream of [process.stdout, process.stderr]) {
    stream.write = (text, ...rest) => {
      printed = printed || String(text).trim().split('\n')[0];
      for (const each of rest) if (typeof each === 'function') each();
      return true;
    };
  }
  process.on('exit', (code) => { if (code !== 0 && !ending && printed) say(printed); });
}
