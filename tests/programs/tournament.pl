% A knock-out tournament of four; the strengths decide each match.
%% answer: champion(ann)  0.354
%% answer: champion(bo)  0.15
%% answer: champion(cy)  0.406
%% answer: champion(di)  0.09

plays(semi1, ann, bo).
plays(semi2, cy, di).
beats(ann, bo, 0.6).
beats(cy, di, 0.7).
beats(ann, cy, 0.5).
beats(ann, di, 0.8).
beats(bo, cy, 0.3).
beats(bo, di, 0.55).

P::won(G, X); Q::won(G, Y) :- plays(G, X, Y), beats(X, Y, P), Q is 1 - P.
P::champion(X); Q::champion(Y) :- won(semi1, X), won(semi2, Y), beats(X, Y, P), Q is 1 - P.

query(champion(_)).
