% Powers, roots and rounding functions.
%% answer: square(4)  0.5
%% answer: square(9)  0.5
%% answer: power(4)  0.5
%% answer: power(8)  0.5
%% answer: root(2.0)  0.5
%% answer: root(3.0)  0.5
%% answer: down(2)  0.5
%% answer: down(3)  0.5
%% answer: up(3)  0.5
%% answer: up(4)  0.5

0.5::n(2); 0.5::n(3).

square(X) :- n(N), X is N ** 2.
power(X) :- n(N), X is 2 ^ N.
root(X) :- n(N), X is sqrt(N * N).
down(X) :- n(N), X is floor(N + 0.7).
up(X) :- n(N), X is ceiling(N + 0.2).

query(square(_)).
query(power(_)).
query(root(_)).
query(down(_)).
query(up(_)).
