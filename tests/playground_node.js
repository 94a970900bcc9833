// Runs the playground's engine where there is no page. Reads from standard input one JSON text: the engine's script,
// the file of a model (base64), and questions, whose pictures are base64 of red, green and blue. Writes a line of JSON
// for each question.
const { engine, file, questions } = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
const { readCheckpoint, fromBase64, answer } = new Function(engine + 'return playgroundEngine();')();
const checkpoint = readCheckpoint(fromBase64(file));

function opaque(bytes) {
  const data = new Uint8ClampedArray(bytes.length / 3 * 4).fill(255);
  for (let i = 0; i < bytes.length; i += 1) data[4 * Math.floor(i / 3) + i % 3] = bytes[i];
  return data;
}

const plain = value => ArrayBuffer.isView(value) ? [...value] : value;
for (const { picture, ...rest } of questions) {
  const asked = { picture: { ...picture, data: opaque(fromBase64(picture.data)) }, ...rest };
  const { seen, ...told } = answer(asked, checkpoint);
  const maps = rest.maps ? { seen } : {};
  process.stdout.write(JSON.stringify({ ...told, ...maps }, (_, value) => plain(value)) + '\n');
}
