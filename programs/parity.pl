% The parity of a row of bits of any length, each seen as an image of a zero or a one.
% With an odd number of bits the answers tell a bit from its opposite, with an even number they do not.

nn(bit_net, [X], B, [0, 1]) :: bit(X, B).

parity([], even).
parity([X|Xs], Parity) :- bit(X, 0), parity(Xs, Parity).
parity([X|Xs], Parity) :- bit(X, 1), parity(Xs, Other), opposite(Other, Parity).

opposite(even, odd).
opposite(odd, even).
