% A cycle of four nodes, given that no edge has two equal colours.
%% answer: colour(1,blue)  0.25806451612903225
%% answer: colour(1,green)  0.3387096774193548
%% answer: colour(1,red)  0.4032258064516129
%% answer: opposite  0.6878251821019771

node(N) :- between(1, 4, N).
edge(1, 2).
edge(2, 3).
edge(3, 4).
edge(4, 1).

0.5::colour(N, red); 0.3::colour(N, green); 0.2::colour(N, blue) :- node(N).

clash :- edge(X, Y), colour(X, C), colour(Y, C).
opposite :- colour(1, C), colour(3, C).

query(colour(1, _)).
query(opposite).
evidence(clash, false).
