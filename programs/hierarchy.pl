% Ten kinds of things, known by their classes alone: of two images the narrowest class is told that both belong to, or that
% they are of the same kind. Classes have names, kinds have none: the kinds of one class can be told apart, but not named.

nn(digit_net, [X], K, [0..9]) :: kind(X, K).

common(X, Y, same) :- kind(X, K), kind(Y, K).
common(X, Y, Class) :- kind(X, K), kind(Y, L), K \= L, narrowest(K, L, Class).

%                  number
%           +--------+--------+
%       straight            curved
%        1 4 7          +------+------+
%                     loop          hook
%                    0 6 8 9        2 3 5

narrowest(K, L, Class) :- in(K, Class), in(L, Class), leaf(Class).
narrowest(K, L, curved) :- in(K, loop), in(L, hook).
narrowest(K, L, curved) :- in(K, hook), in(L, loop).
narrowest(K, L, number) :- in(K, straight), in(L, Class), Class \= straight.
narrowest(K, L, number) :- in(L, straight), in(K, Class), Class \= straight.

leaf(straight).
leaf(loop).
leaf(hook).

in(1, straight). in(4, straight). in(7, straight).
in(0, loop). in(6, loop). in(8, loop). in(9, loop).
in(2, hook). in(3, hook). in(5, hook).
