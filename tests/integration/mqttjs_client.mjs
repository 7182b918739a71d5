// Drives MQTT.js for test_clients.py: subscribes, publishes, and prints what came as one line of JSON.
//
//   node mqttjs_client.mjs '{"port": 1883, "version": 5, "qos": 2, "topic": "t", "count": 10, ...}'
//
// `url` is for WebSocket and TLS; then `tls` holds the names of files for MQTT.js: {"ca": ..., "cert": ..., "key": ...}.
// mode "both" publishes and receives, "subscribe" prints "ready" and waits for the messages of others, "publish" sends.
import { readFileSync } from 'node:fs';
import mqtt from 'mqtt';

const options = JSON.parse(process.argv[2]);
const { port, version, qos, topic, count, mode = 'both', properties = {}, retain = false } = options;
const { url = `mqtt://127.0.0.1:${port}`, tls = {} } = options;
const client = await mqtt.connectAsync(url, {
  ...Object.fromEntries(Object.entries(tls).map(([name, path]) => [name, readFileSync(path)])),
  protocolVersion: version,
  protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
  clientId: options.clientId,
  clean: true,
  reconnectPeriod: 0,
});
const received = [];
let granted = [];
const done = new Promise((resolve, reject) => {
  client.on('error', reject);
  client.on('close', () => reject(new Error('closed by the broker')));
  client.on('message', (name, payload, packet) => {
    received.push({
      topic: name,
      payload: payload.toString(),
      qos: packet.qos,
      retain: packet.retain,
      properties: packet.properties ?? null,
    });
    if (received.length === count) resolve();
  });
});

if (mode !== 'publish') {
  granted = await client.subscribeAsync(topic, { qos });
  if (mode === 'subscribe') console.log('ready');
}
if (mode !== 'subscribe') {
  for (let number = 0; number < count; number++) {
    await client.publishAsync(topic, String(number), { qos, retain, ...(version === 5 ? { properties } : {}) });
  }
}
if (mode !== 'publish') await done;
else done.catch(() => {});
client.removeAllListeners('close');
await client.endAsync();
console.log(JSON.stringify({ granted: granted.map((item) => item.qos), received }));
