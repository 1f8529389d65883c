// The web console's page: screen in a canvas, keys by their place, absolute pointer, text consoles in tabs.
// The protocol is described in crates/console/src/web/session.rs.
'use strict';
const $ = (id) => document.getElementById(id);
const canvas = $('screen');
const context = canvas.getContext('2d', { alpha: false });
let socket = null;
let absolute = true;
let buttons = 0;
let running = false;
let decoding = Promise.resolve();
const down = new Set();
const terminals = [];
const panes = [];

function send(text) {
  if (socket && socket.readyState === WebSocket.OPEN) socket.send(text);
}

// --- tabs

function addPane(title, pane, shown) {
  const tab = document.createElement('button');
  tab.textContent = title;
  tab.setAttribute('role', 'tab');
  tab.addEventListener('click', () => show(panes.findIndex((p) => p.tab === tab)));
  $('tabs').append(tab);
  panes.push({ tab, pane, shown });
}

function show(index) {
  panes.forEach((p, i) => {
    p.pane.classList.toggle('shown', i === index);
    p.tab.setAttribute('aria-selected', i === index);
  });
  panes[index].shown();
}

function addTerminal(name, index) {
  const pane = document.createElement('div');
  pane.className = 'pane terminal-pane';
  pane.id = 'terminal-' + name;
  $('panes').append(pane);
  const terminal = new Terminal({ scrollback: 5000, fontSize: 14, convertEol: false });
  const fit = new FitAddon.FitAddon();
  terminal.loadAddon(fit);
  let open = false;
  addPane(name, pane, () => {
    if (!open) terminal.open(pane);
    open = true;
    fit.fit();
    terminal.focus();
  });
  const bytes = (data) => {
    const body = typeof data === 'string' ? new TextEncoder().encode(data) : data;
    const message = new Uint8Array(body.length + 1);
    message[0] = index;
    message.set(body, 1);
    send(message);
  };
  terminal.onData(bytes);
  terminal.onBinary((s) => bytes(Uint8Array.from(s, (c) => c.charCodeAt(0))));
  new ResizeObserver(() => { if (open && pane.classList.contains('shown')) fit.fit(); }).observe(pane);
  terminals[index] = terminal;
}

addPane('Screen', $('screen-pane'), () => canvas.focus());
show(0);

// --- what the server sends

// The picture as large as it fits, with its shape kept.
function fitScreen() {
  const { clientWidth, clientHeight } = $('screen-pane');
  const scale = Math.min(clientWidth / canvas.width, clientHeight / canvas.height) || 1;
  canvas.style.width = Math.floor(canvas.width * scale) + 'px';
  canvas.style.height = Math.floor(canvas.height * scale) + 'px';
}
new ResizeObserver(fitScreen).observe($('screen-pane'));

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate-raw'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function drawFrame(data) {
  const view = new DataView(data);
  const [compressed, width, height, count] = [view.getUint8(1), view.getUint16(2, true), view.getUint16(4, true), view.getUint16(6, true)];
  const rest = new Uint8Array(data, 8);
  const body = compressed ? await inflate(rest) : rest;
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
    fitScreen();
    $('size').textContent = width + ' × ' + height;
  }
  const heads = new DataView(body.buffer, body.byteOffset, body.byteLength);
  let at = count * 8;
  for (let n = 0; n < count; n++) {
    const [x, y, w, h] = [0, 2, 4, 6].map((o) => heads.getUint16(n * 8 + o, true));
    const image = context.createImageData(w, h);
    const pixels = image.data;
    for (let p = 0; p < w * h * 4; p += 4, at += 3) {
      pixels[p] = body[at];
      pixels[p + 1] = body[at + 1];
      pixels[p + 2] = body[at + 2];
      pixels[p + 3] = 255;
    }
    context.putImageData(image, x, y);
  }
  send('ack');
}

function hello(message) {
  $('layout').replaceChildren(...message.layouts.map((name) => new Option(name, name, false, name === message.layout)));
  $('name').textContent = message.name;
  document.title = message.name;
  message.consoles.forEach((name, index) => {
    if (terminals[index]) terminals[index].reset(); else addTerminal(name, index);
  });
}

function status(s) {
  running = s.state === 'running';
  absolute = s.absolute;
  $('state').textContent = s.state;
  $('state').className = s.state;
  $('pause').textContent = running ? 'Pause' : 'Resume';
  $('cpu').textContent = `CPUs ${s.cpus} · exits ${s.exits}/s`;
  $('disk').textContent = `disk read ${s.disk_read} KiB/s, write ${s.disk_write} KiB/s`;
  $('pointer').textContent = absolute ? 'absolute pointer' : 'relative pointer: click the screen to catch it, Esc lets go';
  canvas.classList.toggle('dot-pointer', absolute);
  ['num', 'caps', 'scroll'].forEach((name) => $(name).classList.toggle('on', s.leds[name]));
}

function connect() {
  socket = new WebSocket(location.href.replace(/^http/, 'ws').replace(/[?#].*$/, '').replace(/[^/]*$/, '') + 'ws');
  socket.binaryType = 'arraybuffer';
  socket.onopen = () => { if (!window.DecompressionStream) send('plain'); };
  socket.onmessage = (event) => {
    if (typeof event.data === 'string') {
      const message = JSON.parse(event.data);
      if (message.hello) hello(message); else status(message);
      return;
    }
    const kind = new Uint8Array(event.data, 0, 2);
    if (kind[0] === 1) decoding = decoding.then(() => drawFrame(event.data)).catch(console.error);
    else if (kind[0] === 2 && terminals[kind[1]]) terminals[kind[1]].write(new Uint8Array(event.data, 2));
  };
  socket.onclose = () => {
    $('state').textContent = 'connection lost';
    $('state').className = 'lost';
    down.clear();
    setTimeout(connect, 2000);
  };
}

// --- keyboard: the key's place decides, the guest has its own layout

function key(event, isDown) {
  event.preventDefault();
  event.stopPropagation();
  if (event.isComposing) return;
  if (!event.code || event.code === 'Unidentified') {
    if (isDown && event.key.length === 1) send('text ' + event.key);
    return;
  }
  if (isDown) down.add(event.code);
  else if (!down.delete(event.code)) return;
  send(`key ${event.code} ${isDown ? 1 : 0}`);
}

function releaseAll() {
  down.forEach((code) => send(`key ${code} 0`));
  down.clear();
}

canvas.addEventListener('keydown', (e) => key(e, true));
canvas.addEventListener('keyup', (e) => key(e, false));
canvas.addEventListener('blur', releaseAll);
window.addEventListener('blur', releaseAll);

// --- pointer

const MASKS = [1, 2, 4, 0x80, 0x100];

function pointer(event) {
  if (document.pointerLockElement === canvas) {
    send(`rel ${Math.round(event.movementX)} ${Math.round(event.movementY)} ${buttons}`);
  } else if (absolute) {
    const box = canvas.getBoundingClientRect();
    const at = (v, size, pixels) => Math.max(0, Math.min(pixels - 1, Math.floor(v * pixels / size)));
    send(`abs ${at(event.clientX - box.left, box.width, canvas.width)} ${at(event.clientY - box.top, box.height, canvas.height)} ${buttons}`);
  }
}

canvas.addEventListener('pointermove', pointer);
canvas.addEventListener('pointerdown', (event) => {
  event.preventDefault();
  canvas.focus();
  if (!absolute && document.pointerLockElement !== canvas) {
    canvas.requestPointerLock();
    return;
  }
  canvas.setPointerCapture(event.pointerId);
  buttons |= MASKS[event.button] || 0;
  pointer(event);
});
canvas.addEventListener('pointerup', (event) => {
  buttons &= ~(MASKS[event.button] || 0);
  pointer(event);
});
canvas.addEventListener('pointercancel', (event) => {
  buttons = 0;
  pointer(event);
});
canvas.addEventListener('contextmenu', (event) => event.preventDefault());
canvas.addEventListener('wheel', (event) => {
  event.preventDefault();
  const sign = (v) => (v > 0) - (v < 0);
  send(`wheel ${-sign(event.deltaY)} ${sign(event.deltaX)}`);
}, { passive: false });

// --- buttons

$('pause').onclick = () => send(running ? 'cmd stop' : 'cmd cont');
$('power').onclick = () => send('cmd powerdown');
$('reset').onclick = () => { if (confirm('Reset the guest? What it has not saved is lost.')) send('cmd reset'); };
$('cad').onclick = () => {
  const keys = ['ControlLeft', 'AltLeft', 'Delete'];
  keys.forEach((code) => send(`key ${code} 1`));
  keys.reverse().forEach((code) => send(`key ${code} 0`));
  canvas.focus();
};
$('shot').onclick = () => canvas.toBlob((blob) => {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = $('name').textContent.replace(/[^\w.-]+/g, '_') + '.png';
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});
$('full').onclick = async () => {
  await $('screen-pane').requestFullscreen();
  if (navigator.keyboard && navigator.keyboard.lock) navigator.keyboard.lock().catch(() => {});
  canvas.focus();
};
$('paste').onclick = async () => {
  $('paste-dialog').showModal();
  try { $('paste-text').value = await navigator.clipboard.readText(); } catch { /* not allowed: the user pastes it */ }
};
$('paste-dialog').addEventListener('close', () => {
  if ($('paste-dialog').returnValue === 'ok') {
    send('layout ' + $('layout').value);
    send('text ' + $('paste-text').value);
  }
  $('paste-text').value = '';
  canvas.focus();
});

connect();
