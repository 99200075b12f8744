// What the pieces to play with share.
window.loraPieces = {
  lang: document.documentElement.lang || "en",
  fill: (text, values) => text.replace(/{(\w+)}/g, (_, name) => values[name]),
  each: (list, html) => list.map(html).join(""),
};

// The directions of a matrix, a list of rows: σ, u and σvᵀ of each, the strongest first. By Jacobi's
// rotations: two rows at a time are turned until all stand at right angles. Then they are the σvᵀ,
// and the matrix times one of them, over σ², is u; of what is rounding alone, σ and u are 0.
loraPieces.directions = matrix => {
  const dot = (v, w) => {
    let sum = 0;
    for (let k = 0; k < v.length; k++) sum += v[k] * w[k];
    return sum;
  };
  const rows = matrix.map(row => Float64Array.from(row));
  const dust = 1e-31 * rows.reduce((sum, row) => sum + dot(row, row), 0); // rounding only
  const atRightAngles = (v, w) => { // says whether they were, or turns them
    const a = dot(v, v), b = dot(w, w), both = dot(v, w), half = (b - a) / (2 * both);
    if (Math.min(a, b) <= dust || both * both <= 1e-28 * a * b) return true;
    const tan = (half < 0 ? -1 : 1) / (Math.abs(half) + Math.hypot(1, half));
    const cos = 1 / Math.hypot(1, tan), sin = cos * tan;
    for (let k = 0; k < v.length; k++)
      [v[k], w[k]] = [cos * v[k] - sin * w[k], sin * v[k] + cos * w[k]];
    return false;
  };
  for (let sweep = 0, turned = true; turned && sweep < 50; sweep++) {
    turned = false;
    for (const [i, v] of rows.entries()) for (const w of rows.slice(i + 1))
      if (!atRightAngles(v, w)) turned = true;
  }
  const direction = row => {
    const square = dot(row, row), size = square > 10 * dust ? Math.sqrt(square) : 0;
    return {row, size, u: matrix.map(each => size && dot(each, row) / square)};
  };
  return rows.map(direction).sort((one, other) => other.size - one.size);
};
