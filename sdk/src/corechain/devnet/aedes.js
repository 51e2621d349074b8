// node aedes.js <folder of the package aedes> <port>: an MQTT broker for this machine alone.
const [folder, port] = process.argv.slice(2);

// Its topic tree throws for what has more, and nothing catches it: the broker would be gone.
const MOST_LEVELS = 100;
const isDeep = (topic) => topic.split('/').length > MOST_LEVELS;

// The client's connection ends: 3.1.1 has no other way to refuse a message.
function refuse(what, topic, callback) {
  const shown = JSON.stringify(topic.slice(0, 80));
  console.error(`TopicTooDeep: ${what} on ${shown}…: more than ${MOST_LEVELS} levels`);
  callback(new Error('TopicTooDeep'));
}

const broker = require(folder)({
  // A will comes this way too.
  authorizePublish(client, packet, callback) {
    if (isDeep(packet.topic)) return refuse('message', packet.topic, callback);
    if (packet.topic.startsWith('$SYS/')) return callback(new Error('$SYS/ topic is reserved'));
    callback(null);
  },
  authorizeSubscribe(client, subscription, callback) {
    if (isDeep(subscription.topic)) return refuse('subscription', subscription.topic, callback);
    callback(null, subscription);
  },
});
require('node:net').createServer(broker.handle).listen(Number(port), '127.0.0.1');
