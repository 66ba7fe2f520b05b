% Friends take up smoking from one another; a variant of the smokers model with uneven stress.
%% answer: ill(b)  0.0877625
%% answer: ill(c)  0.14879375
%% answer: smokes(a)  0.33325
%% answer: smokes(b)  0.25075
%% answer: smokes(c)  0.425125

0.3::stress(a).
0.1::stress(b).
0.4::stress(c).

friend(a, b).
friend(b, a).
friend(b, c).
friend(c, b).

0.25::influences(X, Y) :- friend(X, Y).
smokes(X) :- stress(X).
smokes(Y) :- influences(X, Y), smokes(X).
0.35::ill(X) :- smokes(X).

query(smokes(_)).
query(ill(b)).
query(ill(c)).
