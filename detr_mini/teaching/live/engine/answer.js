// The door of the engine: what the page asks, and what it is told.

/** @typedef {{picture: Picture, targets: Targets, switches?: Switches}} Question */

/** What one decoder layer says: its answers, the cost of each object for each slot, the pairs, the loss.
 * @typedef {Answers & {scores: number[], labels: number[], cost: number[][],
 *   pairs: {slot: number, object: number}[], losses: LossTerms}} Layer */

/** `classWeight` is the weight of the class in cost and loss.
 * @typedef {{layers: Layer[], seen: Maps, height: number, width: number, padding: Mask, classWeight: number,
 *   milliseconds: number}} Answer */

/**
 * All that can be seen of one picture.
 * @param {Question} question
 * @param {Checkpoint} checkpoint
 * @returns {Answer}
 */
function answer({ picture, targets, switches = NOTHING_BROKEN }, checkpoint) {
  const start = performance.now(), { config } = checkpoint, classes = config.num_classes;
  const deformable = 'num_feature_levels' in config, term = (deformable ? focalTerm : softmaxTerm)(classes);
  const detected = (deformable ? deformableDetr : detr)(picture, checkpoint, switches);
  const layers = detected.layers.map(layer => {
    const { scores, labels } = postprocess(layer.logits, term, classes);
    const cost = matchingCost(layer, targets, term), pairs = match(cost);
    return { ...layer, scores, labels, cost, pairs, losses: losses(layer, targets, pairs, term) };
  });
  return { ...detected, layers, classWeight: term.weight, milliseconds: performance.now() - start };
}

/**
 * Answer in a worker: a file makes the model, a question is answered, and whatever goes wrong is told.
 * @param {{onmessage: any, postMessage: (message: any) => void}} worker
 */
function serve(worker) {
  /** @type {Checkpoint} */
  let checkpoint;
  worker.onmessage = (/** @type {{data: {file?: string, question?: Question}}} */ { data }) => {
    try {
      if (data.file) checkpoint = readCheckpoint(fromBase64(data.file));
      const { config, classNames } = checkpoint;
      worker.postMessage(data.question ? { answer: answer(data.question, checkpoint) } : { config, classNames });
    } catch (error) {
      worker.postMessage({ fault: String(error) });
    }
  };
}
